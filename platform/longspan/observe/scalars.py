"""A record's numbers by tag, as dashboards of trackers show them."""

from __future__ import annotations

from longspan.observe.evaluations import measurements_of
from longspan.observe.tracker import Record

# Of "update" records; the others name times that are better shown as rates.
_SCALARS = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "speed/tokens_per_second",
    "mfu": "speed/mfu",
    "step_seconds": "speed/step_seconds",
    "data_wait_seconds": "speed/data_wait_seconds",
    "length": "train/row_length",
}
_GROUPS = {"source_tokens.": "source_tokens/", "callback.": "callback/"}


def scalars(record: Record) -> dict[str, float]:
    """Return a record's numbers by tag; empty for events."""
    if record["kind"] == "update":
        shown = {tag: float(record[key]) for key, tag in _SCALARS.items() if key in record}
        for key, value in record.items():
            for prefix, group in _GROUPS.items():
                if key.startswith(prefix):
                    shown[group + key.removeprefix(prefix)] = float(value)
        return shown
    if record["kind"] == "heldout":
        # The base model as it came stands apart: it shares update 0 with the run's start.
        group = "heldout_original" if record.get("phase") == "original" else "heldout"
        shown = {}
        for key, value in record.items():
            if key == "loss" or key.startswith("loss."):
                shown[f"{group}/{key.replace('.', '/', 1)}"] = float(value)
        for first, last, loss, _ in record.get("positions", ()):
            shown[f"{group}_by_position/{int(first):07d}-{int(last):07d}"] = float(loss)
        return shown
    return _evaluation_scalars(record)


def _evaluation_scalars(record: Record) -> dict[str, float]:
    """Values, and the ends of their intervals in a group of their own; none of another kind of record."""
    shown: dict[str, float] = {}
    for each in measurements_of(record):
        shown[f"evaluation/{each.name}"] = each.value
        for end, value in (("low", each.low), ("high", each.high)):
            if value is not None:
                shown[f"evaluation_interval/{each.name}/{end}"] = value
    return shown
