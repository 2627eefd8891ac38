import json
import math
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

import longspan
from longspan.errors import UserError
from longspan.observe.metrics import MetricsLog, read_metrics
from longspan.storage.store import Store


def update(number, loss=1.0):
    return {"kind": "update", "update": number, "time": float(number), "loss": loss}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def still():
    """A clock at which no time passes."""
    return 0.0


def parts(store, path="metrics"):
    return [item.path for item in store.list(path)]


def test_records_come_back_in_order(store):
    log = MetricsLog(store, "metrics", lines_per_part=4)
    for number in range(1, 11):
        log.add(update(number))
    log.close()
    assert read_metrics(store, "metrics") == [update(number) for number in range(1, 11)]
    assert parts(store) == [f"metrics/part-00000{i}.jsonl" for i in range(3)]


def test_nothing_is_written_for_every_update(store):
    log = MetricsLog(store, "metrics", lines_per_part=100, seconds=30, clock=still)
    for number in range(1, 51):
        log.add(update(number))
    assert parts(store) == []
    log.close()
    assert len(read_metrics(store, "metrics")) == 50


def test_time_passing_flushes(store):
    log = MetricsLog(store, "metrics", seconds=30, clock=count(step=10).__next__)
    for number in range(1, 6):
        log.add(update(number))
    stored = read_metrics(store, "metrics")
    assert 3 <= len(stored) < 6
    assert parts(store) == ["metrics/part-000000.jsonl"]


def test_events_and_heldout_losses_are_stored_at_once(store):
    log = MetricsLog(store, "metrics", clock=still)
    log.add(update(1))
    log.add({"kind": "event", "update": 1, "time": 1.5, "event": "checkpoint"})
    assert len(read_metrics(store, "metrics")) == 2
    log.add(update(2))
    log.add({"kind": "heldout", "update": 2, "time": 2.5, "phase": "during", "loss": 2.0})
    assert len(read_metrics(store, "metrics")) == 4


KILLED = """
import os, signal, sys
from longspan.observe.metrics import MetricsLog
from longspan.storage.store import Store
log = MetricsLog(Store(sys.argv[1]), "metrics", lines_per_part=5, clock=lambda: 0.0)
for number in range(1, 14):
    log.add({"kind": "update", "update": number, "time": 0.0, "loss": 1.0})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_only_what_was_not_flushed_and_the_run_goes_on(store):
    environment = os.environ | {"PYTHONPATH": str(Path(longspan.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, store.root]
    killed = subprocess.run(command, env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert [record["update"] for record in read_metrics(store, "metrics")] == list(range(1, 11))
    before = store.read_bytes("metrics/part-000001.jsonl")

    resumed = MetricsLog(store, "metrics", lines_per_part=5)
    for number in range(9, 16):
        resumed.add(update(number, loss=0.5))
    resumed.close()

    records = read_metrics(store, "metrics")
    assert [record["update"] for record in records] == list(range(1, 16))
    assert [record["loss"] for record in records] == [1.0] * 8 + [0.5] * 7
    assert store.read_bytes("metrics/part-000001.jsonl") == before
    assert parts(store)[-1] == "metrics/part-000003.jsonl"


def test_phases_of_one_update_are_different_records(store):
    log = MetricsLog(store, "metrics")
    for phase in ("original", "start", "start"):
        log.add({"kind": "heldout", "update": 0, "time": 0.0, "phase": phase, "loss": 2.0})
    for time in (1.0, 2.0):
        log.add({"kind": "event", "update": 0, "time": time, "event": "resumed"})
    log.close()
    found = [record.get("phase", record.get("event")) for record in read_metrics(store, "metrics")]
    assert found == ["original", "start", "resumed", "resumed"]


def test_losses_that_are_no_numbers_are_strict_json_and_come_back(store):
    log = MetricsLog(store, "metrics")
    log.add(update(1, loss=math.nan))
    log.add(update(2, loss=math.inf))
    log.close()
    lines = store.read_bytes("metrics/part-000000.jsonl").decode().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == ["NaN", "Infinity"]
    first, second = read_metrics(store, "metrics")
    assert math.isnan(first["loss"]) and second["loss"] == math.inf


def test_a_store_that_fails_delays_records_and_loses_none(store, tmp_path):
    said = []
    log = MetricsLog(store, "runs/metrics", lines_per_part=2, clock=still, warn=said.append)
    (tmp_path / "runs").write_text("in the way")  # no folder can be made here
    for number in range(1, 6):
        log.add(update(number))
    assert len(said) == 1
    with pytest.raises(UserError):
        log.flush()
    (tmp_path / "runs").unlink()
    log.close()
    assert [r["update"] for r in read_metrics(store, "runs/metrics")] == [1, 2, 3, 4, 5]


def test_a_line_that_is_no_record_is_named(store):
    store.write_bytes("metrics/part-000000.jsonl", b'{"kind":"update","update":1}\n{"kind":\n')
    with pytest.raises(UserError, match=r"part-000000\.jsonl, line 2"):
        read_metrics(store, "metrics")


def test_no_parts_are_no_records(store):
    store.write_bytes("metrics/notes.txt", b"not a part")
    assert read_metrics(store, "metrics") == []
    assert read_metrics(store, "elsewhere") == []
