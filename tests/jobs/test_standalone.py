"""The same run under torchrun, without Ray."""

import subprocess

import pytest

from tests.jobs.project import Project, said
from tests.jobs.standalone import forked, torchrun
from tests.ranks import RankServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_torchrun_gives_the_curve_of_the_job_and_continues_its_own_run(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    done = torchrun(project, "name=alone", "start_on=ready")
    assert done.returncode == 0, said(done)[-4000:]
    assert done.stdout.count("data: long: 40 of 40 objects are ready") == 1
    with_ray, alone = (project.records(run, "update") for run in ("tiny", "alone"))
    losses = [record["loss"] for record in with_ray]
    assert [record["loss"] for record in alone] == pytest.approx(losses, rel=1e-5)
    records = project.store.list("runs/alone/checkpoints/*/checkpoint.json")
    assert [r.path.split("/")[3] for r in records] == ["update-0000010", "update-0000012"]

    again = forked(ranks, project, "name=alone")
    assert again.returncode == 0, said(again)[-4000:]
    assert again.stdout.count("as at this run's start") == 3
    assert "resumed at update 12" in again.stdout


def test_torchrun_continues_what_ray_began_with_other_workers(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    done = forked(ranks, project, "name=tiny")
    assert done.returncode == 0, said(done)[-4000:]
    assert "resumed at update 12, workers 2" in done.stdout


@pytest.mark.deep
def test_memory_savers_of_the_recipe_give_the_same_curve(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    savers = (
        "training.tiled_mlp=true",
        "training.mlp_tile=100",
        "training.offload_optimizer=true",
        "training.offload_parameters=true",
    )
    done = forked(ranks, project, "name=savers", "start_on=ready", *savers)
    assert done.returncode == 0, said(done)[-4000:]
    with_ray, saving = (project.records(run, "update") for run in ("tiny", "savers"))
    losses = [record["loss"] for record in with_ray]
    assert [record["loss"] for record in saving] == pytest.approx(losses, rel=1e-5)
    on_cpu = forked(ranks, project, "name=savers2", "training.offload_activations=true")
    assert on_cpu.returncode == 2
    assert "error: training.offload_activations: the workers are CPUs" in on_cpu.stderr


def test_torchrun_takes_no_other_shards(
    ranks: RankServer, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    refused = forked(ranks, project, "name=alone3", "heldout.fraction=0.3")
    assert refused.returncode != 0
    assert "error: corpora.long: 40 of its objects are not ingested with" in refused.stderr


def test_torchrun_with_another_number_of_processes_is_told_so(
    ranks: RankServer, project: Project
) -> None:
    refused = forked(ranks, project, "name=alone2", "workers=4")
    assert refused.returncode != 0
    assert "error: workers: the recipe says 4, torchrun started 2" in refused.stderr
