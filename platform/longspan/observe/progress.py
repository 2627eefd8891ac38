"""The line that tells a person watching how far a run is, and how long it will take."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from longspan.observe.tracker import Record
from longspan.observe.units import count, duration

RECENT = 20
"""Updates that speed and time left are taken from."""

# Enough updates of one row length to judge that length by themselves.
_ENOUGH = 3
# A run is reported as standing still after this many times its usual update, and a minute.
_STILL = 5.0


@dataclass(frozen=True)
class StageTotal:
    """A part of a run at one row length."""

    length: int
    """Tokens per row."""
    updates: int
    tokens_per_update: int
    cost_per_token: float = 1.0
    """Work per token against other lengths' (:func:`longspan.plan.flops.flops_per_token`, say)."""


@dataclass(frozen=True)
class Totals:
    """What a whole run amounts to."""

    stages: tuple[StageTotal, ...]

    @property
    def updates(self) -> int:
        """Updates of all stages."""
        return sum(stage.updates for stage in self.stages)


def progress_line(records: Sequence[Record], totals: Totals, now: float) -> str:
    """One line about a run whose records so far are ``records``, at time ``now``.

    Only "update" records count, and of these the last :data:`RECENT`; ``now`` and the records'
    ``time`` are seconds on one clock.
    """
    recent = [record for record in records if record.get("kind") == "update"][-RECENT:]
    if not recent:
        return f"update 0/{totals.updates} 0%"
    last = recent[-1]
    done = int(last["update"])
    parts = [f"update {done}/{totals.updates} {_percent_done(done, totals)}"]
    parts.append(f"loss {_loss(last['loss'])}")
    parts.append(f"lr {last['learning_rate']:.2g}")
    parts.extend(_speed(recent))
    parts.append(_time_left(recent, totals, done, now))
    return " | ".join(parts)


def seconds_left(recent: Sequence[Record], totals: Totals, done: int) -> float | None:
    """Seconds that the updates after ``done`` will take; None before anything is known.

    The median over recent updates, so that one that waited for an evaluation, a checkpoint or a
    neighbour doesn't matter, of seconds per unit of work, so that a length yet to come, whose
    tokens cost more, is counted as such. Updates of the present length are preferred.
    """
    stages = _stages_left(totals, done)
    if not stages:
        return 0.0
    costs = {stage.length: stage.cost_per_token for stage in totals.stages}
    present = [record for record in recent if record.get("length") == stages[0].length]
    used = present if len(present) >= _ENOUGH else recent
    rates = [
        record["step_seconds"] / (record["tokens"] * costs.get(record.get("length", 0), 1.0))
        for record in used
        if record.get("step_seconds") and record.get("tokens")
    ]
    if not rates:
        return None
    work = sum(s.updates * s.tokens_per_update * s.cost_per_token for s in stages)
    return statistics.median(rates) * work


class Progress:
    """Prints the progress line as records come; a :class:`~longspan.observe.tracker.Tracker`.

    On a terminal the line is rewritten in place; elsewhere (a job's log) every line is whole, and
    at least ``seconds`` apart. Held-out losses and events get lines of their own.

    Args:
        totals: what the whole run amounts to.
        log: takes a whole line, without its end; None: ``out`` does.
        out: where lines go without ``log``.
        seconds: between progress lines; the last update is always shown.
        clock: seconds since 1970, as in the records.
    """

    def __init__(
        self,
        totals: Totals,
        log: Callable[[str], None] | None = None,
        *,
        out: TextIO | None = None,
        seconds: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._totals, self._log = totals, log
        self._out = sys.stdout if out is None else out
        self._rewrites = log is None and self._out.isatty()
        self._seconds, self._clock = seconds, clock
        self._shown: float | None = None
        self._recent: list[Record] = []
        self._width = 0

    def log(self, record: Record) -> None:
        """Show the record."""
        kind = record["kind"]
        if kind == "update":
            self._recent = [*self._recent, dict(record)][-RECENT:]
            self._show_progress(last=record["update"] >= self._totals.updates)
        elif kind == "heldout":
            self._whole_line(heldout_line(record))
        else:
            self._whole_line(event_line(record))

    def close(self) -> None:
        """End the line that is being rewritten, if any."""
        if self._width:
            self._out.write("\n")
            self._out.flush()
            self._width = 0

    def _show_progress(self, last: bool) -> None:
        now = self._clock()
        if not last and self._shown is not None and now - self._shown < self._seconds:
            return
        self._shown = now
        line = progress_line(self._recent, self._totals, now)
        if not self._rewrites:
            self._whole_line(line)
            return
        self._out.write("\r" + line.ljust(self._width))
        self._out.flush()
        self._width = len(line)

    def _whole_line(self, line: str) -> None:
        self.close()
        if self._log is not None:
            self._log(line)
            return
        self._out.write(line + "\n")
        self._out.flush()


def heldout_line(record: Record) -> str:
    """A held-out loss in words, with its sources."""
    phases = {
        "original": "the base model as it came",
        "start": "before training",
        "during": f"after update {record['update']}",
        "end": f"at the end, after update {record['update']}",
    }
    when = phases.get(record.get("phase", ""), f"update {record['update']}")
    sources = [
        f"{key.removeprefix('loss.')} {_loss(value)}"
        for key, value in record.items()
        if key.startswith("loss.")
    ]
    by_source = f" ({', '.join(sources)})" if sources else ""
    return f"held-out loss {_loss(record['loss'])}{by_source} | {when}"


def event_line(record: Record) -> str:
    """An event in words."""
    # The sums over all starts are for dashboards: the summary at the end has them in words.
    unsaid = ("kind", "update", "time", "event")
    said = {k: v for k, v in record.items() if k not in unsaid and not k.endswith("_in_all")}
    details = "".join(f", {key} {value}" for key, value in said.items())
    return f"{record.get('event', 'event')} at update {record['update']}{details}"


def _stages_left(totals: Totals, done: int) -> list[StageTotal]:
    left = []
    for stage in totals.stages:
        skipped = min(done, stage.updates)
        done -= skipped
        if stage.updates > skipped:
            rest = stage.updates - skipped
            left.append(
                StageTotal(stage.length, rest, stage.tokens_per_update, stage.cost_per_token)
            )
    return left


def _percent_done(done: int, totals: Totals) -> str:
    # Never 100 % before the end.
    share = done / totals.updates if totals.updates else 1.0
    return f"{math.floor(100 * share)}%"


def _speed(recent: Sequence[Record]) -> list[str]:
    timed = [record for record in recent if record.get("step_seconds")]
    seconds = sum(record["step_seconds"] for record in timed)
    if not seconds:
        return []
    parts = [f"{count(sum(record['tokens'] for record in timed) / seconds)} tok/s"]
    mfu = [record["mfu"] for record in timed if record.get("mfu") is not None]
    if mfu:
        parts.append(f"mfu {statistics.median(mfu):.0%}")
    waits = [record for record in timed if record.get("data_wait_seconds") is not None]
    if waits:
        waited = sum(record["data_wait_seconds"] for record in waits)
        parts.append(f"wait {waited / sum(record['step_seconds'] for record in waits):.1%}")
    return parts


def _time_left(recent: Sequence[Record], totals: Totals, done: int, now: float) -> str:
    if done >= totals.updates:
        return "done"
    left = seconds_left(recent, totals, done)
    if left is None:
        return "time left unknown"
    since = max(0.0, now - recent[-1]["time"]) if "time" in recent[-1] else 0.0
    steps = [record["step_seconds"] for record in recent if record.get("step_seconds")]
    if since > _STILL * statistics.median(steps) and since > 60:
        return f"no update for {duration(since)}"
    return f"{duration(max(0.0, left - since))} left"


def _loss(value: Any) -> str:
    return f"{float(value):.3f}"
