"""Messages about credentials name the environment that lacks them."""

import socket

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from longspan.errors import UserError
from longspan.storage.s3_errors import Where, explain

WHERE = Where("s3://bucket/a", "bucket", "", "read")
HOST = socket.gethostname()
REFUSED = ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "GetObject")
DENIED = ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")


@pytest.fixture(autouse=True)
def outside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_RAYLET_PID"):
        monkeypatch.delenv(name, raising=False)


def told(error: Exception) -> str:
    found = explain(error, WHERE, list)
    assert isinstance(found, UserError)
    return str(found)


def test_in_a_shell_it_is_that_process_which_lacks_them() -> None:
    message = told(NoCredentialsError())
    assert f"no credentials found in the environment of this process on {HOST}: set AWS_" in message
    assert "runtime-env" not in message


def test_in_a_submitted_job_it_is_the_node_and_not_the_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    message = told(NoCredentialsError())
    assert f"no credentials found in the environment of Ray's node {HOST}" in message
    assert "that of the shell that submits them does not come along" in message
    assert "ray job submit --runtime-env FILE" in message


@pytest.mark.parametrize("error", [NoCredentialsError(), REFUSED, DENIED])
def test_a_worker_names_its_node(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RAYLET_PID", "1")
    assert f"in the environment of Ray's node {HOST}" in told(error)
