"""One project, and one whole run of it, for all tests of the jobs."""

import subprocess

import pytest
import yaml

from tests.jobs.project import Project
from tests.tiny import make_tiny_model


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, job_server: str) -> Project:
    folder = tmp_path_factory.mktemp("project")
    # Untied: with tied embeddings an untrained model says one token over and over.
    return Project(folder, make_tiny_model(folder / "base", tied=False), job_server)


@pytest.fixture(scope="session")
def first_run(project: Project) -> subprocess.CompletedProcess[str]:
    """The recipe as it is, from its start to its end, as the only stage of a pipeline to which tests add others."""
    stages = {"name": "tiny", "pretrain": {"recipe": project.recipe.name}}
    project.pipeline.write_text(yaml.safe_dump(stages))
    return project.submit(job="pipeline", recipe=project.pipeline)
