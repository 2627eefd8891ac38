"""Grafana dashboards, from code: `python cluster/dashboards.py` writes cluster/dashboards/*.json.

Grafana imports a file as it is and asks which Prometheus to read; Ray's own dashboards stand beside
ours. An expression is PromQL; `RATE` in it is the range that Grafana finds right for the time shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8


@dataclass(frozen=True)
class Series:
    """One query of a panel, and how its lines are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture; `unit` is Grafana's name of it."""

    title: str
    unit: str
    series: Sequence[Series]
    description: str


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels, each with a heading."""

    uid: str
    title: str
    rows: dict[str, Sequence[Panel]]

    def to_json(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["longspan"],
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "schemaVersion": 39,
            "templating": {
                "list": [
                    {
                        "name": "datasource",
                        "label": "Prometheus",
                        "type": "datasource",
                        "query": "prometheus",
                    }
                ]
            },
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number, top = 1, 0
        for heading, panels in self.rows.items():
            place = {"x": 0, "y": top, "w": COLUMNS * WIDTH, "h": 1}
            yield {
                "id": number,
                "type": "row",
                "title": heading,
                "gridPos": place,
                "collapsed": False,
                "panels": [],
            }
            number, top = number + 1, top + 1
            for index, panel in enumerate(panels):
                line, column = divmod(index, COLUMNS)
                yield _panel(number, panel, column * WIDTH, top + line * HEIGHT)
                number += 1
            top += -(-len(panels) // COLUMNS) * HEIGHT


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"fillOpacity": 8, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": series.expression.replace("RATE", "$__rate_interval"),
                "legendFormat": series.legend,
            }
            for index, series in enumerate(panel.series)
        ],
    }


def quantiles(histogram: str) -> tuple[Series, ...]:
    """The middle one and the slowest of twenty."""
    rates = f"sum by (le) (rate({histogram}_bucket[RATE]))"
    return tuple(
        Series(f"histogram_quantile({share}, {rates})", name)
        for share, name in ((0.5, "half are below"), (0.95, "19 of 20 are below"))
    )


def per_second(counter: str, by: str) -> tuple[Series, ...]:
    """A counter's rate by a label."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return (Series(f"sum by ({by}) (rate({counter}[RATE]))", legend),)


CHAT = Dashboard(
    "longspan-chat",
    "Longspan: chat service",
    {
        "What people see": (
            Panel(
                "Requests",
                "reqps",
                per_second("ray_longspan_serve_requests_total", "status, ended"),
                "By HTTP status and how they ended; 'client gone' is a reader who stopped.",
            ),
            Panel(
                "Time to the first token",
                "s",
                quantiles("ray_vllm_time_to_first_token_seconds"),
                "In the engine: waiting for room, and reading the prompt.",
            ),
            Panel(
                "Time between tokens",
                "s",
                quantiles("ray_vllm_inter_token_latency_seconds"),
                "What an answer's flow looks like; long prompts of others make it uneven.",
            ),
            Panel(
                "Time to the first byte",
                "s",
                quantiles("ray_longspan_serve_first_byte_seconds"),
                "The same at the door of the service.",
            ),
            Panel(
                "Time of a request",
                "s",
                quantiles("ray_longspan_serve_request_seconds"),
                "To the last token.",
            ),
            Panel(
                "Time in the queue",
                "s",
                quantiles("ray_vllm_request_queue_time_seconds"),
                "Before the engine begins; it grows when replicas are too few.",
            ),
        ),
        "What the engines do": (
            Panel(
                "Requests in the engines",
                "short",
                (
                    Series("sum(ray_vllm_num_requests_running)", "running"),
                    Series("sum(ray_vllm_num_requests_waiting)", "waiting"),
                ),
                "Of all replicas.",
            ),
            Panel(
                "Tokens",
                "short",
                (
                    Series("sum(rate(ray_vllm_prompt_tokens_total[RATE]))", "of prompts, a second"),
                    Series(
                        "sum(rate(ray_vllm_generation_tokens_total[RATE]))", "of answers, a second"
                    ),
                ),
                "Read and written.",
            ),
            Panel(
                "Cache in use",
                "percentunit",
                (Series("avg(ray_vllm_kv_cache_usage_perc)", "of keys and values"),),
                "At 100 % requests wait, or are set back.",
            ),
            Panel(
                "Prompts found in the cache",
                "percentunit",
                (
                    Series(
                        "sum(rate(ray_vllm_prefix_cache_hits_total[RATE])) / "
                        "sum(rate(ray_vllm_prefix_cache_queries_total[RATE]))",
                        "share of their tokens",
                    ),
                ),
                "The next question about a document finds it there.",
            ),
            Panel(
                "Replicas",
                "short",
                (Series("sum(ray_serve_deployment_replica_healthy)", "healthy"),),
                "They come and go with the tokens that are queued and running.",
            ),
            Panel(
                "Set back for want of cache",
                "short",
                (Series("sum(increase(ray_vllm_num_preemptions_total[RATE]))", "requests"),),
                "Computed again later; more cache, or fewer requests at a time, helps.",
            ),
        ),
        "Who uses it": (
            Panel(
                "Tokens by key",
                "short",
                per_second("ray_longspan_serve_tokens_total", "key, kind"),
                "A second.",
            ),
            Panel(
                "Requests by key",
                "reqps",
                per_second("ray_longspan_serve_requests_total", "key"),
                "Without a name: no key, or a wrong one.",
            ),
        ),
    },
)
DASHBOARDS = (CHAT,)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.uid.removeprefix('longspan-')}.json"
        path.write_text(json.dumps(dashboard.to_json(), indent=2) + "\n")
        print(path)


if __name__ == "__main__":
    main()
