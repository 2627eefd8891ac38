"""Facts of the process that Ray's job server states in the environment."""

import json

import pytest

from longspan.job_environment import JOB_VARIABLE, modules_of_submission


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        (None, []),
        ({"metadata": {}}, []),
        ({"runtime_env": {"env_vars": {"A": "1"}}}, []),
        ({"runtime_env": {"py_modules": ["gcs://mine.zip"]}}, ["gcs://mine.zip"]),
    ],
)
def test_modules_that_a_submission_uploads(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, object] | None, modules: list[str]
) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    if config is not None:
        monkeypatch.setenv(JOB_VARIABLE, json.dumps(config))
    assert modules_of_submission() == modules
