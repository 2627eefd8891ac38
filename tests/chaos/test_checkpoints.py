"""Workers that die in the middle of a checkpoint, on a store that can hold the moment: it is as if it had not begun."""

from collections.abc import Callable, Sequence

import pytest

from longspan.history.check import Finding
from tests.chaos.bucket import Bucket
from tests.chaos.run import UPDATES, Run, is_the_same
from tests.fault_proxy import Faults
from tests.jobs.project import Project
from tests.nodes import Cluster, Node, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]


def kill_workers(nodes: Sequence[Node]) -> None:
    """All of the group's."""
    workers = [worker for node in nodes for worker in node.workers()]
    assert len(workers) == len(nodes)
    for worker in workers:
        worker.kill()


def test_half_a_checkpoint_is_none(
    project: Project,
    undisturbed: Finding,
    cluster: Cluster,
    start: Callable[..., Run],
    bucket: Bucket,
) -> None:
    nodes = [cluster.add("a"), cluster.add("b")]
    folder = "runs/half/checkpoints"
    with bucket.behind_a_proxy(Faults()) as proxy:
        run = start("half", *bucket.settings(proxy))
        with proxy.holding(rf"{folder}/update-0000040/.*/part-00001\.safetensors") as held:
            run.said(r"checkpoint at update 20")
            until(held.is_set)
            until(lambda: bucket.store.list(f"{folder}/update-0000040/*/part-00000.json"))
            kill_workers(nodes)
            run.said(r"failed: worker \d: .*; starting again from the checkpoint at update 20$")
        with proxy.holding(rf"{folder}/update-0000{UPDATES}/checkpoint\.json") as held:
            until(held.is_set)
            assert len(bucket.store.list(f"{folder}/update-0000{UPDATES}/*/*.json")) == 2
            kill_workers(nodes)
            before = UPDATES - 20
            run.said(
                rf"failed: worker \d: .*; starting again from the checkpoint at update {before}$"
            )
        run.ended()
    found = bucket.store.list(f"{folder}/update-*/**")
    left = {tuple(item.path.split("/")[3:5]) for item in found}
    attempts = sorted(update for update, name in left if name != "checkpoint.json")
    assert attempts == [f"update-0000{before}", f"update-0000{UPDATES}"], "nothing else is left"
    bucket.fetch("half")
    finding = is_the_same(project, "half", undisturbed)
    assert finding.starts == (2, 2, 2)
    assert finding.done_again >= 20, "at least what the last checkpoint would have kept"
