"""Records of evaluations of a run's checkpoints, among its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longspan.observe.tracker import Record

EVALUATION = "evaluation"
"""Kind of these records."""


@dataclass(frozen=True)
class Measurement:
    """One number that an evaluation measured.

    Attributes:
        name: parts separated by "/", such as "score/niah_single_1/4096".
        value: a share in [0, 1], or nats per token; the name says which.
        low: lower end of its 95 % interval; None if it has none.
        high: upper end.
        n: samples or tokens that it is of; None where it is not known.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


def evaluation_record(
    evaluation: str, update: int, measurements: Sequence[Measurement], *, time: float, **more: str
) -> dict[str, Any]:
    """Return the metrics record of the evaluation of one checkpoint.

    Args:
        evaluation: name of the evaluation.
        update: updates done at the checkpoint.
        measurements: all that was measured.
        time: seconds since 1970.
        more: words to store with them.
    """
    return {
        "kind": EVALUATION,
        "update": update,
        "time": time,
        "evaluation": evaluation,
        **more,
        "measurements": [asdict(each) for each in measurements],
    }


def measurements_of(record: Record) -> Iterator[Measurement]:
    """Yield the measurements of a record; none if it is of another kind."""
    if record["kind"] == EVALUATION:
        for each in record["measurements"]:
            yield Measurement(**each)
