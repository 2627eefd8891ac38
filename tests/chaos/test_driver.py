"""The job's own process dies, or the whole head: the same command goes on from the last checkpoint."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """What is in a folder, and when it was written."""
    found = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (status.st_mtime_ns, status.st_size) for path, status in found.items()}


def flip_a_byte(file: Path) -> None:
    """Damage in the middle of a file, which keeps its size."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_killed_driver_a_lost_head_a_damaged_checkpoint_and_another_recipe(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add("a"), cluster.add("b")]
    first = start("driver")
    first.said(r"checkpoint at update 40")
    first.kill()
    second = start("driver")  # At once: what is left of the first is still there.
    second.said(r"resumed at update [1-9]\d*, workers 2")
    second.said(r"checkpoint at update 120")
    cluster.head.kill()
    assert second.wait() != 0
    until(lambda: not any(node.workers() for node in nodes if node.process.poll() is None))
    cluster.close()

    checkpoints = project.folder / "store/runs/driver/checkpoints"
    latest = max(checkpoints.glob("*/checkpoint.json")).parent
    (part,) = latest.glob("*/part-00001.safetensors")
    flip_a_byte(part)
    with closing(Cluster()) as another:
        another.add("a")
        third = start("driver", on=another)
        third.said(rf"{part} is not what was written: going on from the checkpoint before")
        before = int(latest.name.removeprefix("update-")) - 20
        third.said(rf"resumed at update {before}, workers 1")
        third.ended()
        assert is_the_same(project, "driver", undisturbed).starts == (2, 2, 1)

        there = files(project.folder / "store")
        other = start("driver", "optimizer.learning_rate=0.002", on=another).ended(status=2)
        message = "error: optimizer.learning_rate: the checkpoint to resume from has 0.001, this run 0.002;"
        assert message in other
        weights = ("corpora.long.weight=0.4", "corpora.code.weight=0.3")
        other = start("driver", *weights, on=another).ended(status=2)
        assert (
            "error: corpora.long.weight: the checkpoint to resume from has 0.5, this run 0.4; "
            "corpora.code.weight: the checkpoint to resume from has 0.2, this run 0.3; undo"
            in other
        )
        assert files(project.folder / "store") == there, "it has not begun"
