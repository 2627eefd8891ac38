"""The run of a job whose workers share rows, on Ray."""

import subprocess

import pytest

from longspan.history.check import compare
from tests.jobs.project import Project, said

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]


def test_workers_that_share_rows_give_the_curve_of_one(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0, said(first_run)[-4000:]
    done = project.run("name=shared", "workers={min: 2, max: 2, sequence_parallel: 2}")
    assert done.returncode == 0, said(done)[-4000:]
    assert "each row is shared by 2 workers" in said(done)
    for kind in ("update", "heldout"):
        one, shared = (
            [record["loss"] for record in project.records(run, kind)] for run in ("tiny", "shared")
        )
        assert shared == pytest.approx(one, rel=1e-5), kind
    found = project.history("shared")
    assert not found.faults
    assert not compare(found, project.history("tiny"))
