"""Updates that are not made, in whole runs: counted, gone back for, and the end of it where that does not help."""

import subprocess

import pytest

from tests.jobs.project import Project, said
from tests.jobs.standalone import forked
from tests.ranks import RankServer

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

LONG = ("training.tokens=56320", "lengths=64", "heldout.every=110")
# The tiny recipe's losses jump about by more than this once they have fallen.
SPIKES = ("training.max_loss_rise=0.5", "training.checkpoint_every=1")


def updates_of(project: Project, run: str, event: str) -> list[int]:
    return [r["update"] for r in project.records(run, "event") if r["event"] == event]


def test_going_back_and_passing_over_rows_comes_to_the_same_as_skipping_them(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    skipping = forked(ranks, project, "name=skips", *LONG, *SPIKES, "training.max_skipped=40")
    assert skipping.returncode == 0, said(skipping)[-4000:]
    going_back = forked(ranks, project, "name=goes-back", *LONG, *SPIKES, "training.max_skipped=1")
    assert going_back.returncode == 0, said(going_back)[-4000:]

    skipped = updates_of(project, "skips", "skipped")
    assert skipped, "the losses have no spike: this test proves nothing"
    assert updates_of(project, "goes-back", "skipped") == skipped
    assert updates_of(project, "goes-back", "batch_excluded") == skipped
    assert "(loss of " in going_back.stdout
    assert "going back to the latest checkpoint, and passing over their rows" in going_back.stdout
    ends = [project.records(run, "heldout")[-1] for run in ("skips", "goes-back")]
    assert ends[0]["loss"] == ends[1]["loss"], "to the bit"
    assert project.history("goes-back").faults == ()


def test_a_run_that_diverges_goes_back_once_and_ends_with_a_clear_error(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    hopeless = ("optimizer.learning_rate=1e20", "optimizer.warmup_updates=0")
    done = forked(ranks, project, "name=diverges", "training.checkpoint_every=12", *hopeless)
    assert done.returncode != 0
    assert done.stdout.count("going back to the latest checkpoint") == 1
    assert "error: updates 5 to 7 were skipped (loss of nan)" in done.stderr
    assert "lower optimizer.learning_rate" in done.stderr
    assert not project.store.exists("runs/diverges/model")
