"""Training and the chat service on one cluster: it makes room for chat, and takes it back."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from ray.util.state import list_placement_groups

from longspan._compat.ray_serve import REPLICA_PREFIX
from longspan.history.check import Finding
from tests.chaos.run import UPDATES, Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, until
from tests.s3 import S3Server
from tests.serve.load import busy, load
from tests.serve.service import Service, replicas

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]


def test_training_gives_up_a_worker_for_chat_and_takes_it_back(
    project: Project,
    undisturbed: Finding,
    cluster: Cluster,
    start: Callable[..., Run],
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    for name in "abc":
        cluster.add(name)
    service = Service(tmp_path, cluster.address, s3_server)
    scale = "replicas={min: 1, max: 2, target_tokens: 300, upscale_delay: 0, downscale_delay: 5}"
    status, output = service.command("deploy", scale)
    assert status == 0, output
    run = start(
        "tenants", "workers.grow_after_s=0", "workers.yield_after_s=0", "workers.hang_timeout_s=600"
    )
    run.said(r"started at update 0, workers 2")
    run.said(rf"update \d+/{UPDATES}")
    with load(service, clients=1) as met:
        with busy(service):
            with paused(cluster):  # It would be done before Serve asks for a replica.
                until(lambda: waiting(cluster))
            run.said(
                r"rescale_requested at update \d+, reason chat waits for room: 1 of 2 workers stay"
            )
            run.said(r"resumed at update \d+, workers 1")
            run.said(rf"update \d+/{UPDATES}")
            with paused(cluster):
                until(lambda: taken(cluster) == 2 and not waiting(cluster))
        with paused(cluster):
            until(lambda: taken(cluster) == 1)
        run.said(r"rescale_requested at update \d+, reason there is room for 2 workers")
        run.said(r"resumed at update \d+, workers 2")
        run.ended()
    assert met.errors == []
    assert len(met.answers) > 20
    assert len(set(met.answers)) == 1
    finding = is_the_same(project, "tenants", undisturbed)
    assert finding.starts == (2, 1, 2)
    assert finding.done_again == 0, "nothing was lost"


def waiting(cluster: Cluster) -> bool:
    """Whether a replica has no room."""
    pending = list_placement_groups(cluster.dashboard, filters=[("state", "=", "PENDING")])
    return any(group["name"].startswith(REPLICA_PREFIX) for group in pending)


def taken(cluster: Cluster) -> int:
    """How many nodes have a replica."""
    return sum(bool(replicas(node.process.pid)) for node in cluster.nodes)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster(dashboard=True)) as cluster:
        yield cluster


@contextmanager
def paused(cluster: Cluster) -> Iterator[None]:
    """Training stands still."""
    with ExitStack() as stack:
        for node in cluster.nodes:
            if node.workers():
                stack.enter_context(node.paused())
        yield
