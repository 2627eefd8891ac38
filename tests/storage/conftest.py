"""A store in a folder and one on S3: whatever holds for one holds for the other."""

import uuid
from pathlib import Path

import pytest

from longspan.storage import Store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    server = request.getfixturevalue("s3_server")
    return Store(f"s3://{server.bucket}/{uuid.uuid4().hex}", endpoint=server.endpoint)
