"""A watcher beside a job that trains, and deletes checkpoints while they are read."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longspan.evaluate.results import Results
from longspan.evaluate.watch import Polling, WatchedEvaluation, WatchedRun, Watcher
from longspan.observe.metrics import read_metrics
from tests.evaluate.made_results import results
from tests.nodes import until
from tests.ranks import RankServer
from tests.train.whole_runs import WholeRuns

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

RECIPE = ("training.tokens=12288", "training.checkpoint_every=2", "training.keep_checkpoints=1")
LAST = 24


def test_a_running_job_is_watched_to_its_end_and_not_disturbed(
    ranks: RankServer, tmp_path: Path
) -> None:
    runs = WholeRuns(ranks, tmp_path)
    runs.train("alone", 2, *RECIPE)
    weights: dict[int, torch.Tensor] = {}

    def evaluate(model: str, update: int) -> Results:
        weights[update] = load_file(Path(model) / "model.safetensors")["model.norm.weight"]
        return results(update / 100)

    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(runs.train, "watched", 2, *RECIPE)
        until(lambda: runs.store.exists("runs/watched"), seconds=60)
        watcher = Watcher(
            WatchedRun(runs.store, "watched"),
            WatchedEvaluation("quick", "evaluate/quick/checkpoints"),
            evaluate,
            Polling(interval_s=0.05, idle_timeout_s=120.0, wait=time.sleep),
        )
        ended = watcher.watch()
        training.result()

    assert ended.reason == "finished"
    assert LAST in ended.evaluated
    assert len(ended.evaluated) > 1, "it was evaluated while it trained"
    assert set(ended.evaluated) | set(ended.skipped) <= set(range(2, LAST + 1, 2))
    final = load_file(Path(runs.store.root, "runs/watched/model/model.safetensors"))
    assert torch.equal(weights[LAST], final["model.norm.weight"])
    assert not torch.equal(weights[min(weights)], weights[LAST])
    assert runs.losses("watched") == runs.losses("alone")
    records = read_metrics(runs.store, "runs/watched/metrics")
    evaluated = [record["update"] for record in records if record["kind"] == "evaluation"]
    assert evaluated == sorted(ended.evaluated)
    kept = {item.path.split("/")[3] for item in runs.store.list("runs/watched/checkpoints/*/*")}
    assert kept == {f"update-{LAST:07d}"}
