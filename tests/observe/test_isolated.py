"""Trackers that raise, hang, cannot be started or do not end: nothing of it reaches whoever gives records."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from longspan.observe.trackers.isolated import IsolatedTracker, Limits, close_all

RECORD = {"kind": "update", "update": 1, "loss": 1.0}


class Probe:
    """Does what it is told with each record."""

    def __init__(self, action: Callable[[Any], object] = lambda record: None) -> None:
        self.action, self.records, self.is_closed = action, [], False

    def log(self, record: Any) -> None:
        self.action(record)
        self.records.append(record)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a hanging tracker waits for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_records_arrive_in_order_and_the_tracker_is_closed() -> None:
    probe, said = Probe(), []
    tracker = IsolatedTracker("probe", lambda: probe, said.append)
    for update in range(100):
        tracker.log({**RECORD, "update": update})
    tracker.close(30)
    assert [record["update"] for record in probe.records] == list(range(100))
    assert (probe.is_closed, tracker.undelivered, said) == (True, 0, [])


@pytest.mark.parametrize(
    "error", [ValueError("odd"), SystemExit(3)], ids=lambda e: type(e).__name__
)
def test_a_tracker_that_raises_is_told_of_once_and_gets_the_next_records(
    error: BaseException,
) -> None:
    def fail(record: Any) -> None:
        if record["update"] % 2:
            raise error

    probe, said = Probe(fail), []
    tracker = IsolatedTracker("probe", lambda: probe, said.append)
    for update in range(10):
        tracker.log({**RECORD, "update": update})
    tracker.close(30)
    assert len(probe.records) == tracker.undelivered == 5
    assert said == [
        f"tracker probe: a record was dropped ({type(error).__name__}: {error}); training goes on"
    ]


def test_a_tracker_that_hangs_fills_its_queue_and_is_left_behind(gate: threading.Event) -> None:
    reached, said = threading.Event(), []

    def hang(record: Any) -> None:
        reached.set()
        gate.wait()

    tracker = IsolatedTracker("probe", lambda: Probe(hang), said.append, Limits(max_waiting=3))
    tracker.log(RECORD)
    assert reached.wait(30)
    for _ in range(5):
        tracker.log(RECORD)
    tracker.close(0.01)
    assert tracker.undelivered == 6
    assert [line.split(";")[0] for line in said] == [
        "tracker probe: it does not keep up: 3 records wait for it",
        "tracker probe: it did not finish within 0 s, and is left behind",
    ]


def test_a_tracker_is_started_again_until_it_starts() -> None:
    started, said, attempts = threading.Event(), [], iter([OSError("no network"), None])

    def start() -> Probe:
        if error := next(attempts):
            raise error
        started.set()
        return probe

    probe = Probe()
    tracker = IsolatedTracker("probe", start, said.append, Limits(retry_s=0.01))
    tracker.log(RECORD)
    assert started.wait(30)
    tracker.close(30)
    assert probe.records == [RECORD]
    assert said == [
        "tracker probe: it could not be started (OSError: no network); training goes on"
    ]


def test_a_tracker_that_never_starts_ends_with_the_run() -> None:
    tried, said = threading.Event(), []

    def start() -> Probe:
        tried.set()
        raise OSError("no network")

    tracker = IsolatedTracker("probe", start, said.append)
    tracker.log(RECORD)
    assert tried.wait(30)
    tracker.close(30)
    assert tracker.undelivered == 1 and len(said) == 1


def test_all_trackers_share_the_time_to_close(gate: threading.Event) -> None:
    said: list[str] = []
    hanging = [
        IsolatedTracker(name, lambda: Probe(lambda record: gate.wait()), said.append)
        for name in ("a", "b")
    ]
    probe = Probe()
    trackers = [*hanging, IsolatedTracker("c", lambda: probe, said.append)]
    for each in trackers:
        each.log(RECORD)
    close_all(trackers, 1.0)
    assert probe.is_closed
    assert [each.undelivered for each in trackers] == [1, 1, 0]


def test_messages_have_no_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "local-0123456789abcdef")
    said: list[str] = []

    def start() -> Probe:
        raise ValueError("bad key local-0123456789abcdef for https://me:hunter22@example.com")

    tracker = IsolatedTracker("probe", start, said.append)
    tracker.close(30)
    assert "bad key *** for https://***@example.com" in said[0]
