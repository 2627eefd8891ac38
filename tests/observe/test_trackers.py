"""Trackers of the package with their real libraries: offline, or on a local store."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from longspan.observe.trackers.run import TrackedRun
from longspan.storage import Store

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]

SECRET = "0123456789abcdef0123456789abcdef01234567"
RUN = """
import json, os, sys
from longspan.extensions.options import validated
from longspan.extensions.points import TRACKERS
from longspan.observe.trackers.isolated import IsolatedTracker, Limits
from longspan.observe.trackers.run import TrackedRun
from longspan.storage import Store

name, root, first, records, options, waits = json.loads(sys.argv[1])
found = TRACKERS.load(name, "trackers")
run = TrackedRun("mine", Store(root), "runs/mine", first, {"training": {"seed": 7}}, print)
values = validated(found, options, "options", given=1)
tracker = IsolatedTracker(name, lambda: found(run, **values), print, Limits(retry_s=1.0))
for record in records:
    tracker.log(record)
if waits:
    sys.stdin.readline()
tracker.close(0.1 if waits else 120)
print("undelivered", tracker.undelivered, flush=True)
# As a worker ends, whatever its threads do.
sys.stderr.flush()
os._exit(0)
"""
HELDOUT = {
    "kind": "heldout",
    "phase": "during",
    "update": 2,
    "time": 9.0,
    "loss": 2.0,
    "loss.a": 1.5,
}
EVENT = {"kind": "event", "event": "started", "update": 0, "time": 1.0}


def update(number: int, loss: float) -> dict[str, Any]:
    return {
        "kind": "update",
        "update": number,
        "time": float(number),
        "loss": loss,
        "callback.x": 1.0,
    }


class Trackings:
    """Starts of one run with a tracker, each in a process of its own as workers are."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.store = Store(str(folder / "store"))
        self.home = folder / "home"
        self.home.mkdir()
        self.output = ""
        # As a node's: without what this machine's user is logged in to.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WANDB")},
            "HOME": str(self.home),
            "WANDB_API_KEY": SECRET,
            "MLFLOW_TRACKING_TOKEN": SECRET,
            "TRACKIO_WRITE_TOKEN": SECRET,
            **environment,
        }

    @property
    def run(self) -> TrackedRun:
        return TrackedRun("mine", self.store, "runs/mine", 0, {}, print)

    def start(
        self,
        name: str,
        records: list[dict[str, Any]],
        options: Mapping[str, Any],
        *,
        first: int = 0,
        until: socket.socket | None = None,
    ) -> str:
        """Track records, and close the tracker at once when a socket is connected to; returns what was printed."""
        waits = until is not None
        arguments = json.dumps([name, self.store.root, first, records, options, waits])
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, arguments],
            env=self.environment,
            cwd=self.home,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        with process:
            connection = until.accept()[0] if until else None
            output, errors = process.communicate("\n", timeout=200)
            if connection:
                connection.close()
        assert process.returncode == 0, output + errors
        self.output += output + errors
        return output

    def require_no_secret(self) -> None:
        """Neither the output nor a file has the credentials."""
        assert SECRET not in self.output
        files = [path for path in self.home.parent.rglob("*") if path.is_file()]
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.fixture
def trackings(tmp_path: Path) -> Trackings:
    return Trackings(
        tmp_path,
        {"TRACKIO_DIR": str(tmp_path / "trackio"), "MLFLOW_ALLOW_FILE_STORE": "true"},
    )


def test_mlflow_has_all_starts_of_a_run_in_one(trackings: Trackings) -> None:
    options = {"tracking_uri": f"file://{trackings.home / 'mlruns'}", "experiment": "long"}
    said = trackings.start("mlflow", [EVENT, update(1, 3.0), update(2, 2.5), HELDOUT], options)
    said += trackings.start("mlflow", [update(2, 2.4), update(3, 2.2)], options, first=1)
    assert said.count("undelivered 0") == 2

    from mlflow import MlflowClient

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = MlflowClient(options["tracking_uri"])
    experiment = client.get_experiment_by_name("long")
    (run,) = client.search_runs([experiment.experiment_id])
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in losses] == [(1, 3.0), (2, 2.5), (2, 2.4), (3, 2.2)]
    assert run.data.metrics["heldout/loss.a"] == 1.5
    assert run.data.metrics["callback/x"] == 1.0
    assert run.data.params == {"training.seed": "7"}
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    trackings.require_no_secret()


def test_trackio_has_all_starts_of_a_run_in_one(trackings: Trackings) -> None:
    said = trackings.start("trackio", [EVENT, update(1, 3.0), update(2, 2.5), HELDOUT], {})
    said += trackings.start("trackio", [update(2, 2.4), update(3, 2.2)], {}, first=1)
    assert said.count("undelivered 0") == 2
    read = (
        "import json, trackio; (run,) = trackio.Api().runs('longspan'); "
        "print(json.dumps([run.name, trackio.sqlite_storage.SQLiteStorage.get_logs('longspan', run.name)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", read],
        env=trackings.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    name, logs = json.loads(done.stdout.splitlines()[-1])
    assert name == trackings.run.id
    shown = [(each["step"], each["train/loss"]) for each in logs if "train/loss" in each]
    assert shown == [(1, 3.0), (2, 2.5), (2, 2.4), (3, 2.2)]
    trackings.require_no_secret()


def test_wandb_offline_leaves_files_that_can_be_synced(trackings: Trackings) -> None:
    options = {"mode": "offline", "project": "long", "tags": ["one"]}
    records = [EVENT, update(1, 3.0), update(2, 2.5), HELDOUT]
    assert "undelivered 0" in trackings.start("wandb", records, options)
    assert "undelivered 0" in trackings.start("wandb", [update(2, 2.4)], options, first=1)
    files = [each.path for each in trackings.store.list("runs/mine/wandb")]
    data = sorted(path for path in files if path.endswith(".wandb"))
    assert len(data) == 2
    assert all(f"run-{trackings.run.id}.wandb" in path for path in data)
    assert wandb_history(trackings.store, data) == [
        {"train/loss": 3.0, "callback/x": 1.0, "update": 1},
        {"train/loss": 2.5, "callback/x": 1.0, "update": 2},
        {"heldout/loss": 2.0, "heldout/loss/a": 1.5, "update": 2},
        {"train/loss": 2.4, "callback/x": 1.0, "update": 2},
    ]
    trackings.require_no_secret()


def wandb_history(store: Store, paths: list[str]) -> list[dict[str, Any]]:
    """Rows of files of W&B, without its own keys."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in paths:
        for data in log_records((Path(store.root) / path).read_bytes()[7:]):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                rows.append({k: v for k, v in items.items() if not k.startswith("_")})
    return rows


def log_records(data: bytes) -> Iterator[bytes]:
    """Records of a file in LevelDB's log format: checksum, length and kind (1 whole, 2 to 4 parts) before each."""
    at, pending = 0, b""
    while at + 7 <= len(data):
        length, kind = struct.unpack_from("<HB", data, at + 4)
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield pending
            pending = b""


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_server_that_does_not_answer_costs_records_and_nothing_else(
    trackings: Trackings, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        trackings.environment["WANDB_BASE_URL"] = address
        options = {"tracking_uri": address} if name == "mlflow" else {}
        said = trackings.start(name, [update(1, 3.0)], options, until=silent)
    assert "and is left behind; training goes on" in said
    assert "undelivered 1" in said
    trackings.require_no_secret()
