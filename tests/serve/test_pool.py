"""Replicas in a pool of the cluster, which may have no machine yet."""

import subprocess
import sys
from contextlib import closing

import pytest

from longspan.errors import UserError
from longspan.serve import hardware
from tests.chaos.run import Job
from tests.nodes import Cluster, environment


def test_a_pool_without_a_machine_is_not_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"Alive": True, "Labels": {}, "Resources": {"GPU": 8.0}}
    monkeypatch.setattr("ray.nodes", lambda: [head])
    with pytest.raises(UserError, match=r"^pool: pool 'serving' has no machine yet to plan for"):
        hardware.probe_hardware("serving")


@pytest.mark.deep
@pytest.mark.real
def test_a_machine_of_the_pool_is_waited_for_and_has_the_replicas() -> None:
    with closing(Cluster(dashboard=True)) as cluster:
        cluster.add("other", ["--labels=longspan.io/pool=data"])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.pool"],
            env=environment(cluster),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with closing(Job(process)) as driver:
            driver.said("waiting: pool 'serving' has no machine yet; 'ray status' shows")
            cluster.add("a", ["--labels=longspan.io/pool=serving"])
            driver.said("runs on cpu 0")
            driver.said("a replica in serving")
            driver.ended()
