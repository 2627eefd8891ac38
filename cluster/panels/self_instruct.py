"""Self-instruct: requests to the generator and their tokens."""

from cluster.grafana import Dashboard, Panel, Series, per_second

ALL = "sum by (stage) (rate(ray_longspan_instruct_requests_total[RATE]))"

SELF_INSTRUCT = Dashboard(
    "longspan-self-instruct",
    "Longspan: self-instruct",
    {
        "What is generated": (
            Panel(
                "Requests",
                "reqps",
                per_second("ray_longspan_instruct_requests_total", "stage, outcome"),
                "Questions, then the critique of each.",
            ),
            Panel(
                "Tokens",
                "short",
                per_second("ray_longspan_instruct_tokens_total", "stage, kind"),
                "A second; those of prompts include what the cache had.",
            ),
            Panel(
                "Rejected",
                "percentunit",
                (
                    Series(
                        # If none is accepted there is no series of those that are.
                        "1 - (sum by (stage) (rate("
                        'ray_longspan_instruct_requests_total{outcome="accepted"}[RATE])) or 0 * '
                        f"{ALL}) / {ALL}",
                        "{{stage}}",
                    ),
                ),
                "Replies that are not in the form asked for; the report says why.",
            ),
        ),
    },
)
