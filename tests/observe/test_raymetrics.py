import itertools
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from longspan.observe.evaluations import Measurement, evaluation_record
from longspan.observe.raymetrics import RayEvaluationMetrics, RayMetrics

MEASURED = (
    Measurement("score/niah/4096", 0.75, 0.625, 0.875, 50),
    Measurement("suite/arc/acc", 0.5),
)


def test_without_ray_nothing_happens():
    # In a process of its own: another test's Ray may be up in this one.
    code = (
        "import ray; from longspan.observe.raymetrics import RayMetrics\n"
        "metrics = RayMetrics('quickstart')\n"
        "metrics.log({'kind': 'update', 'update': 1, 'loss': 2.5, 'tokens': 1024})\n"
        "metrics.close()\n"
        "assert not ray.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.real
def test_prometheus_reads_a_runs_metrics(ray_session, make_run):
    import ray

    class Worker:
        def __init__(self):
            self.metrics = RayMetrics("quickstart")
            self.evaluations = RayEvaluationMetrics("quickstart")

        def log(self, records):
            for record in records:
                self.metrics.log(record)

        def go_on(self):
            for update in itertools.count(4):
                self.metrics.log({"kind": "update", "update": update, "loss": 2.3})
                self.evaluations.log(evaluation_record("quick", update, MEASURED, time=0.0))
                time.sleep(0.5)

    worker = ray.remote(num_cpus=0)(Worker).remote()
    start = {"kind": "event", "event": "start", "workers": 2, "wasted_updates_in_all": 5}
    ray.get(worker.log.remote([start, *make_run(3, {1: 1024})]))
    going_on = worker.go_on.remote()
    port = ray.nodes()[0]["MetricsExportPort"]
    found: dict[tuple[str, str | None], float] = {}
    for _ in range(90):
        # Values travel to the endpoint every few seconds.
        page = (
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
        )
        found = ours(page)
        # Long enough for Ray to drop a gauge that is not set any more (two intervals of two seconds).
        if found.get(("update", None), 0) > 24:
            break
        ray.wait([going_on], timeout=1)
    ray.kill(worker)
    assert found[("update", None)] > 24
    assert found[("workers", None)] == 2
    assert found[("wasted_updates", None)] == 5
    assert found[("learning_rate", None)] == pytest.approx(4.9e-5)
    assert found[("tokens_total", None)] == 3 * 8192
    assert found[("source_tokens_total", "books")] == 3 * 6144
    assert found[("heldout_source_loss", "code")] == 1.5
    values = re.findall(r"^ray_longspan_evaluation_(\w+)\{(.*)\} (\S+)$", page, re.M)
    evaluated = {
        (name, metric.group(1) if (metric := re.search(r'metric="([^"]*)"', tags)) else None): value
        for name, tags, value in values
        if 'run="quickstart"' in tags and 'evaluation="quick"' in tags
    }
    assert float(evaluated.pop(("update", None))) > 3
    assert {key: float(value) for key, value in evaluated.items()} == {
        ("value", "score/niah/4096"): 0.75,
        ("low", "score/niah/4096"): 0.625,
        ("high", "score/niah/4096"): 0.875,
        ("value", "suite/arc/acc"): 0.5,
    }


def ours(page):
    """Values of this run's metrics by (name, source)."""
    found = {}
    for name, tags, value in re.findall(r"^ray_longspan_train_(\w+)\{(.*)\} (\S+)$", page, re.M):
        if 'run="quickstart"' in tags:
            source = re.search(r'source="([^"]*)"', tags)
            found[name, source.group(1) if source else None] = float(value)
    return found
