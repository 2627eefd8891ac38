"""An elastic run on S3 over a bad network: it loses a worker and a node, and no number changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import oracle
from tests.chaos.bucket import Bucket
from tests.chaos.run import STORY_UPDATES, Run, is_the_same, of_length
from tests.fault_proxy import Faults
from tests.jobs.project import Project
from tests.nodes import Cluster
from tests.ranks import RankServer
from tests.s3 import OWNER

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

# Without stalls, each of which costs a minute: tests of the storage have them, with less patience.
FAULTS = Faults(slow_down=0.1, reset=0.03, truncate=0.05, flip=True)


def test_an_elastic_run_on_s3_has_the_history_and_losses_of_an_undisturbed_one(
    project: Project,
    ranks: RankServer,
    cluster: Cluster,
    start: Callable[..., Run],
    bucket: Bucket,
) -> None:
    _, second = cluster.add("a"), cluster.add("b")
    with bucket.behind_a_proxy(FAULTS) as proxy:
        run = start("story", *bucket.settings(proxy), *of_length(STORY_UPDATES))
        run.said(r"started at update 0, workers 2")
        run.said(r"checkpoint at update 20")
        (worker,) = second.workers()
        worker.kill()
        run.said(r"failed: .*worker \d: .*; starting again from the checkpoint at update \d+")
        run.said(r"resumed at update \d+, workers 2")
        run.said(r"checkpoint at update")
        second.kill()
        run.said(r"resumed at update \d+, workers 1")
        said = run.ended()
    # Else it proved nothing.
    assert set(proxy.injected) >= {"slow_down", "reset", "truncate", "flip"}, proxy.injected
    bucket.fetch("story")
    undisturbed = oracle.trained(project, ranks, STORY_UPDATES)
    assert is_the_same(project, "story", undisturbed).starts == (2, 2, 1)
    assert f"Exported model:  {bucket.store.root}/runs/story/model" in said

    assert OWNER.secret not in said
    written = [*files(project.folder / "store/runs/story"), *files(Path(cluster.folder))]
    assert any("logs" in path.parts for path in written)
    for path in written:
        assert OWNER.secret.encode() not in path.read_bytes(), f"{path} has the secret key"


def files(folder: Path) -> list[Path]:
    """The regular files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]
