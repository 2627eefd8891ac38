"""What a run on S3 prints to fetch its model by."""

import subprocess
import sys
from pathlib import Path

import pytest

from longspan.cli.checks.store import StoreAddress, check_store
from longspan.errors import UserError
from longspan.storage import Store
from tests.s3 import S3Server, credentials


def copied(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "longspan.storage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.real
def test_a_folder_of_a_bucket_is_copied(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{s3_server.bucket}/command/model"
    with credentials(s3_server.owner):
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
        Store(address).write_bytes("sub/config.json", b"{}")
        done = copied(address, str(tmp_path / "here"))
        missing = copied(f"{address}-not", str(tmp_path / "there"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "sub" / "config.json").read_bytes() == b"{}"
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: cannot download")


@pytest.mark.real
def test_doctor_reaches_a_bucket_and_reads_its_clock(s3_server: S3Server) -> None:
    with credentials(s3_server.owner):
        found = list(
            check_store(StoreAddress(f"s3://{s3_server.bucket}/doctor", s3_server.endpoint))
        )
        assert [(each.status, each.subject) for each in found] == [("ok", "store"), ("ok", "clock")]
        with pytest.raises(UserError, match="bucket 'no-such-bucket' does not exist"):
            list(check_store(StoreAddress("s3://no-such-bucket", s3_server.endpoint)))
