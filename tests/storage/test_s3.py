"""What can go wrong on S3, against a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.preflight import require_access
from tests.s3 import S3Server, User, credentials

pytestmark = pytest.mark.real

ACTIONS: dict[str, Callable[[Store], object]] = {
    "preflight": lambda store: require_access(store),
    "read": lambda store: store.read_bytes("x"),
    "write": lambda store: store.write_bytes("x", b"1"),
    "list": lambda store: store.list(""),
    "exists": lambda store: store.exists("x"),
    "delete": lambda store: store.delete("x"),
    "download": lambda store: store.download("folder", "/nowhere"),
}


@pytest.fixture
def root(s3_server: S3Server) -> str:
    """A prefix with one object."""
    root = f"s3://{s3_server.bucket}/errors"
    Store(root, endpoint=s3_server.endpoint).write_bytes("x", b"1")
    return root


@pytest.mark.parametrize("action", ["preflight", "write", "list", "exists", "delete"])
def test_a_bucket_that_does_not_exist(s3_server: S3Server, action: str) -> None:
    store = Store(f"s3://{s3_server.bucket}-x/prefix", endpoint=s3_server.endpoint)

    with pytest.raises(UserError) as raised:
        ACTIONS[action](store)

    message = str(raised.value)
    assert f"bucket '{s3_server.bucket}-x' does not exist at {s3_server.endpoint}" in message
    assert f"nearest that does is '{s3_server.bucket}'" in message
    assert message.startswith("storage.root: ") == (action == "preflight")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("key", ["OWNERKEY", "SOMEBODYELSE"])
def test_wrong_credentials(s3_server: S3Server, root: str, action: str, key: str) -> None:
    secret = "a-wrong-secret-0123456789"
    with credentials(User(key, secret)), pytest.raises(UserError) as raised:
        ACTIONS[action](Store(root, endpoint=s3_server.endpoint))

    message = str(raised.value)
    assert "AWS_SECRET_ACCESS_KEY" in message
    assert secret not in message
    assert key not in message


def test_no_credentials(s3_server: S3Server, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    with pytest.raises(
        UserError,
        match=r"storage\.root: .*no credentials found in the environment of .*: set AWS_ACCESS",
    ):
        require_access(Store(root, endpoint=s3_server.endpoint))


def test_a_user_who_may_only_read(s3_server: S3Server, root: str) -> None:
    with credentials(s3_server.reader):
        store = Store(root, endpoint=s3_server.endpoint)
        assert store.read_bytes("x") == b"1"
        assert [item.path for item in store.list("")] == ["x"]
        for action in ("write", "delete"):
            with pytest.raises(UserError, match="do not allow it"):
                ACTIONS[action](store)


def test_nothing_answers(s3_server: S3Server) -> None:
    with pytest.raises(UserError, match=r"no answer .*check storage\.endpoint"):
        require_access(Store("s3://bucket", endpoint="http://127.0.0.1:1"))


def test_more_objects_than_one_page_of_a_listing_has(s3_server: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{s3_server.bucket}/many", endpoint=s3_server.endpoint)
    for number in range(1001):
        (tmp_path / f"{number:04d}").write_bytes(b"")

    store.upload(tmp_path, "")
    assert len(store.list("")) == 1001

    Store(f"s3://{s3_server.bucket}", endpoint=s3_server.endpoint).delete("many")
    assert store.list("") == []
