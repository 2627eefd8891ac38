"""A run's numbers as Ray metrics, for the cluster's Prometheus endpoint and its dashboards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from longspan.observe.evaluations import EVALUATION, measurements_of
from longspan.observe.tracker import Record

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge

_PREFIX = "longspan_train_"

_GAUGES = {
    "update": "Optimizer updates done.",
    "loss": "Training loss of the last update, in nats per token.",
    "learning_rate": "Learning rate of the last update.",
    "grad_norm": "Global gradient norm before clipping.",
    "tokens_per_second": "Training tokens per second.",
    "mfu": "Model FLOPs utilization: a fraction of the devices' peak.",
    "step_seconds": "Seconds that the last update took.",
    "data_wait_seconds": "Seconds of the last update spent waiting for rows.",
    "length": "Tokens per row.",
}
# Gauges of the whole run: a counter would begin anew with every process that takes the run on.
_WASTED = {
    "wasted_updates": "Updates that were done and not kept, since the run began.",
    "wasted_worker_seconds": "Seconds of workers that those took.",
}
_SOURCE_TOKENS = "source_tokens."


class RayMetrics:
    """Sets gauges and counters of ``ray.util.metrics``; a tracker for processes that run in Ray.

    All are called ``longspan_train_*`` and tagged with the run, those of a source with the source
    too; Ray puts ``ray_`` before a name, and ``_total`` after a counter's, when it shows them. Each
    is made when it first has a value. Values that are not finite are not shown: the one before
    stays. Where Ray is not initialised nothing happens.

    Ray exports a gauge for two intervals after it was set (``metrics_report_interval_ms``), then it is gone.
    Therefore each record sets all gauges, so that one can be drawn over another.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: dict[str, Gauge] = {}
        self._values: dict[tuple[str, str | None], float] = {}
        """Latest value of each gauge, by name and source."""
        self._counters: dict[str, Counter] = {}

    def log(self, record: Record) -> None:
        """Show the record's numbers."""
        import ray

        if not ray.is_initialized():
            return
        if record["kind"] == "update":
            self._log_update(record)
        elif record["kind"] == "heldout" and record.get("phase") != "original":
            self._log_heldout(record)
        elif record["kind"] == "event":
            self._log_event(record)
        for (name, source), value in self._values.items():
            self._gauges[name].set(value, self._tags(source))

    def close(self) -> None:
        """Nothing is pending: Ray collects the values by itself."""

    def _log_update(self, record: Record) -> None:
        for key, description in _GAUGES.items():
            if key in record:
                self._set(key, description, float(record[key]))
        self._count("tokens", "Tokens trained on.", float(record.get("tokens", 0)))
        for key, value in record.items():
            if key.startswith(_SOURCE_TOKENS):
                source = key.removeprefix(_SOURCE_TOKENS)
                self._count("source_tokens", "Tokens by source.", float(value), source=source)

    def _log_heldout(self, record: Record) -> None:
        for key, value in record.items():
            if key == "loss":
                self._set("heldout_loss", "Held-out loss, in nats per token.", float(value))
            elif key.startswith("loss."):
                description = "Held-out loss by source, in nats per token."
                source = key.removeprefix("loss.")
                self._set("heldout_source_loss", description, float(value), source)

    def _log_event(self, record: Record) -> None:
        self._count("events", "What happened to the run.", 1.0, event=str(record["event"]))
        if "workers" not in record:
            return
        self._set("workers", "Workers of the latest start.", float(record["workers"]))
        for key, description in _WASTED.items():
            self._set(key, description, float(record.get(f"{key}_in_all", 0)))

    def _set(self, name: str, description: str, value: float, source: str | None = None) -> None:
        from ray.util.metrics import Gauge

        if name not in self._gauges:
            self._gauges[name] = Gauge(_PREFIX + name, description, _tag_keys(source))
        if math.isfinite(value):
            self._values[name, source] = value

    def _count(self, name: str, description: str, value: float, **more: str) -> None:
        from ray.util.metrics import Counter

        if value <= 0:
            return  # a counter takes no zero
        if name not in self._counters:
            self._counters[name] = Counter(_PREFIX + name, description, ("run", *more))
        self._counters[name].inc(value, {"run": self._run, **more})

    def _tags(self, source: str | None) -> dict[str, str]:
        return {"run": self._run} if source is None else {"run": self._run, "source": source}


def _tag_keys(source: str | None) -> tuple[str, ...]:
    return ("run",) if source is None else ("run", "source")


class RayEvaluationMetrics:
    """Sets gauges of the latest evaluation of a run's checkpoints; a tracker for processes that run in Ray.

    ``longspan_evaluation_{value,low,high}`` are tagged with the run, the evaluation and the
    measurement's name (`metric`), ``longspan_evaluation_update`` with run and evaluation. Where Ray is not
    initialised nothing happens.

    Ray exports a gauge for two intervals after it was set, and an evaluation takes longer: draw them
    with ``last_over_time``.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: dict[str, Gauge] = {}

    def log(self, record: Record) -> None:
        """Show the record's numbers."""
        import ray

        if not ray.is_initialized() or record["kind"] != EVALUATION:
            return
        tags = {"run": self._run, "evaluation": record["evaluation"]}
        self._set("update", "Updates done at the checkpoint.", float(record["update"]), tags)
        for each in measurements_of(record):
            of_metric = tags | {"metric": each.name}
            self._set("value", "Measured value.", each.value, of_metric)
            self._set("low", "Lower end of its 95 % interval.", each.low, of_metric)
            self._set("high", "Upper end of its 95 % interval.", each.high, of_metric)

    def close(self) -> None:
        """Nothing is pending: Ray collects the values by itself."""

    def _set(self, name: str, description: str, value: float | None, tags: dict[str, str]) -> None:
        from ray.util.metrics import Gauge

        if value is None or not math.isfinite(value):
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"longspan_evaluation_{name}", description, tuple(tags))
        self._gauges[name].set(value, tags)
