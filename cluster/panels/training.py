"""Panels of a training run: loss, throughput, data sources and goodput."""

from cluster.grafana import Dashboard, Panel, Series

UPDATES = "max by (run) (ray_longspan_train_update)"


def by_run(metric: str) -> tuple[Series, ...]:
    """A number of each run, as it is."""
    return (Series(f"max by (run) (ray_longspan_train_{metric})", "{{run}}"),)


def evaluated(metric: str) -> tuple[Series, ...]:
    """Measurements of each run's latest evaluation whose names match; set once for a checkpoint, shown for a day."""
    value = f'last_over_time(ray_longspan_evaluation_value{{metric=~"{metric}"}}[1d])'
    return (
        Series(f"max by (run, evaluation, metric) ({value})", "{{run}} {{evaluation}} {{metric}}"),
    )


TRAINING = Dashboard(
    "longspan-training",
    "Longspan: training",
    {
        "Loss": (
            Panel("Updates", "short", by_run("update"), "Done; a step back is work that was lost."),
            Panel("Loss", "none", by_run("loss"), "Of the last update, nats per token."),
            Panel(
                "Held-out loss",
                "none",
                (
                    Series(
                        "max by (run, source) (ray_longspan_train_heldout_source_loss)",
                        "{{run}} {{source}}",
                    ),
                ),
                "Nats per token of documents that are not trained on.",
            ),
            Panel(
                "Gradient norm", "none", by_run("grad_norm"), "Of all parameters, before clipping."
            ),
            Panel("Learning rate", "sci", by_run("learning_rate"), "It warms up, then falls."),
            Panel(
                "Tokens by source",
                "short",
                (
                    Series(
                        "sum by (run, source) (rate(ray_longspan_train_source_tokens_total[RATE]))",
                        "{{run}} {{source}}",
                    ),
                ),
                "A second; their shares are the recipe's weights.",
            ),
        ),
        "Throughput": (
            Panel("Tokens", "short", by_run("tokens_per_second"), "A second, of all workers."),
            Panel(
                "Of the devices' peak",
                "percentunit",
                by_run("mfu"),
                "Model FLOPs utilization; left out for devices whose peak is not known.",
            ),
            Panel("Time of an update", "s", by_run("step_seconds"), "Waiting for rows included."),
            Panel(
                "Waiting for rows",
                "percentunit",
                (
                    Series(
                        "max by (run) (ray_longspan_train_data_wait_seconds) / "
                        "max by (run) (ray_longspan_train_step_seconds)",
                        "{{run}}",
                    ),
                ),
                "Share of an update's time; above some per cent the data is too slow.",
            ),
            Panel(
                "Row length",
                "short",
                by_run("length"),
                "Tokens; it changes with the stages of a run.",
            ),
        ),
        "Evaluation": (
            Panel(
                "Scores of probes",
                "percentunit",
                evaluated("score/.*"),
                "Of the latest evaluated checkpoint, by task and length in tokens.",
            ),
            Panel(
                "Loss by context",
                "none",
                evaluated("loss/.*/context/.*"),
                "Of the latest evaluated checkpoint: nats per token of the same target tokens, by tokens of context.",
            ),
            Panel(
                "Evaluated updates",
                "short",
                (
                    Series(
                        "max by (run, evaluation) (last_over_time(ray_longspan_evaluation_update[1d]))",
                        "{{run}} {{evaluation}}",
                    ),
                ),
                "Updates done at the latest evaluated checkpoint.",
            ),
        ),
        "Goodput": (
            Panel(
                "Goodput",
                "percentunit",
                (
                    Series(
                        f"{UPDATES} / ({UPDATES} + max by (run) (ray_longspan_train_wasted_updates))",
                        "{{run}}",
                    ),
                ),
                "Updates that were kept, of all that were done.",
            ),
            Panel(
                "What happened",
                "short",
                (
                    Series(
                        "sum by (run, event) (ray_longspan_train_events_total)", "{{run}} {{event}}"
                    ),
                ),
                "Starts, checkpoints, notices, failures, and the like, counted.",
            ),
            Panel(
                "Worker time lost",
                "s",
                by_run("wasted_worker_seconds"),
                "Of updates that had to be done again.",
            ),
            Panel("Workers", "short", by_run("workers"), "Of the latest start."),
        ),
    },
)
