"""Where metrics records go: one protocol, and several trackers as one.

A record is a flat dict of numbers and words:

- every record: ``kind`` ("update", "heldout", "event" or "evaluation"), ``update`` (optimizer
  updates done so far), ``time`` (seconds since 1970);
- "update": ``loss`` (nats per counted token), ``learning_rate``, ``grad_norm``, ``tokens`` and
  ``source_tokens.<name>`` (of this update), ``tokens_per_second``, ``mfu`` (a fraction; absent
  where the device's peak is unknown), ``step_seconds`` (the whole update), ``data_wait_seconds``
  (the part of it spent waiting for rows), ``length`` (tokens per row);
- "heldout": ``phase`` ("original": the base model as it came; "start": with its new positions;
  "during"; "end"), ``loss``, ``loss.<source>``, ``positions`` (a list of ``[position_from,
  position_to, loss, tokens]``);
- "event": ``event`` (what happened, in a word: "checkpoint", "resumed") and what else there is to
  say of it;
- "evaluation" (written by an evaluation that watches the run): ``evaluation`` (its name),
  ``measurements`` (see :mod:`longspan.observe.evaluations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Record = Mapping[str, Any]


class Tracker(Protocol):
    """Takes the records of one run, in order, from one process."""

    def log(self, record: Record) -> None:
        """Take one record."""
        ...

    def close(self) -> None:
        """Finish what is pending; no record follows."""
        ...


class Composite:
    """Several trackers as one; a failure of one keeps no other from its records."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, record: Record) -> None:
        """Give every tracker the record, then raise the first failure, if any."""
        self._each(lambda tracker: tracker.log(record))

    def close(self) -> None:
        """Close every tracker, then raise the first failure, if any."""
        self._each(lambda tracker: tracker.close())

    def _each(self, action: Callable[[Tracker], None]) -> None:
        failures: list[Exception] = []
        for tracker in self._trackers:
            try:
                action(tracker)
            except Exception as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
