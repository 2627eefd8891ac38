"""Work that is done again is counted once: that of the latest start, after what is kept."""

from typing import Any

from longspan.train.elastic.replayed_work import Waste, starts_line, waste


def start(event: str, update: int, time: float, workers: int) -> dict[str, Any]:
    return {"kind": "event", "event": event, "update": update, "time": time, "workers": workers}


def did(update: int, time: float) -> dict[str, Any]:
    return {"kind": "update", "update": update, "time": time, "step_seconds": 2.0}


def test_what_is_done_after_the_checkpoint_is_wasted_once() -> None:
    assert waste([], 0) == Waste(0, 0.0)
    first = [start("started", 0, 1.0, 4), *(did(n, 2.0 * n) for n in range(1, 8))]
    assert waste(first, 5) == Waste(2, 16.0)
    # The next start was stopped before it had done anything.
    assert waste([*first, start("resumed", 5, 20.0, 2)], 5) == Waste(0, 0.0)
    again = [*first, start("resumed", 5, 20.0, 2), did(6, 21.0)]
    assert waste(again, 5) == Waste(1, 4.0)


def test_starts_and_their_cost_in_words() -> None:
    records = [start("started", 0, 1.0, 1)]
    assert starts_line(records) is None
    records += [start("resumed", 5, 9.0, 2) | {"wasted_updates": 3, "wasted_worker_seconds": 6.04}]
    line = "2 starts, with 1, 2 workers; 3 updates done again (6.0 worker-seconds)"
    assert starts_line(records) == line
