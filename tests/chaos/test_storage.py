"""The store is gone for a while, or the disk on which checkpoints are staged is full: the run goes on."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longspan.history.check import Finding
from tests.chaos.bucket import Bucket
from tests.chaos.run import Run, is_the_same
from tests.fault_proxy import FaultProxy, Faults
from tests.jobs.project import Project
from tests.nodes import Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]

OUTAGE_SECONDS = 30


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Nothing more fits on a folder's file system, as long as the context lasts."""
    filler = folder / "filler"
    room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    try:
        filler.write_bytes(bytes(room))
    except OSError as error:  # What is being staged has taken some of the room meanwhile.
        assert error.errno == errno.ENOSPC
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_costs_a_checkpoint_and_three_of_them_the_run(
    project: Project,
    undisturbed: Finding,
    cluster: Cluster,
    start: Callable[..., Run],
    small_disk: Path,
) -> None:
    # Where parts are staged; Ray has its folder elsewhere.
    cluster.add("a", TMPDIR=str(small_disk))
    cluster.add("b", TMPDIR=str(small_disk))
    run = start("full", "training.give_up_timeout_s=0")
    run.said(r"checkpoint at update 20")
    with full(small_disk):
        failed = run.said(r"checkpoint failed at update (\d+), reason .*No space left on device")
    good = rf"checkpoint at update ({int(failed[1]) + 20}|{int(failed[1]) + 40})\b"
    kept = run.said(good)
    with full(small_disk):
        text = run.ended(status=2)
    assert re.search(r"error: 3 checkpoints in a row failed, .*No space left on device", text)
    assert "Traceback" not in text
    assert "failed: worker" not in text, "no worker died of it"

    again = start("full", "training.give_up_timeout_s=0")
    resumed = again.said(r"resumed at update (\d+), workers 2")
    assert int(resumed[1]) >= int(kept[1])
    again.ended()
    assert is_the_same(project, "full", undisturbed).starts == (2, 2)


@contextmanager
def outage(proxy: FaultProxy) -> Iterator[None]:
    """The store is gone for half a minute; the context lasts from the first checkpoint that can't be written."""
    proxy.refused.clear()
    proxy.faults = Faults(gone=True)
    began = time.monotonic()
    until(lambda: any("/checkpoints/" in path for path in proxy.refused))
    yield
    until(lambda: time.monotonic() - began > OUTAGE_SECONDS)
    proxy.faults = Faults()


def test_a_store_that_is_gone_for_half_a_minute_is_waited_for(
    project: Project,
    undisturbed: Finding,
    cluster: Cluster,
    start: Callable[..., Run],
    bucket: Bucket,
) -> None:
    nodes = [cluster.add("a"), cluster.add("b")]
    with bucket.behind_a_proxy(Faults()) as proxy:
        run = start("outages", *bucket.settings(proxy))
        run.said(r"checkpoint at update 40")
        with outage(proxy):
            nodes[1].workers()[0].kill()
        run.said(r"resumed at update \d+, workers 2")
        run.said(r"checkpoint at update")
        with outage(proxy):
            pass  # This time all of them live.
        run.ended()
    bucket.fetch("outages")
    assert is_the_same(project, "outages", undisturbed).starts == (2, 2)
