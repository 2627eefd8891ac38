"""The training loop without Ray, on the recipe of the small project."""

import os
import subprocess
import sys

from longspan.train import standalone
from tests.jobs.project import ROOT, Project
from tests.ranks import RankServer


def torchrun(project: Project, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Two workers, as a user starts them."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    module = ["-m", "longspan.train.standalone", str(project.recipe), "workers=2", *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "platform")}
    return subprocess.run(
        [*launcher, *module],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def forked(
    ranks: RankServer, project: Project, *overrides: str, workers: int = 2
) -> subprocess.CompletedProcess[str]:
    """The same entry point in forked ranks, which need no imports; an override may change `workers`."""
    arguments = [str(project.recipe), f"workers={workers}", *overrides]
    return ranks.run(workers, standalone.main, arguments, timeout_s=300)
