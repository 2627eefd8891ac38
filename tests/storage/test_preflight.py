"""What a run may not do is said before it starts: all of it, by action and key."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from longspan.errors import UserError
from longspan.recipe.load import parse_recipe
from longspan.recipe.sources import run_needs
from longspan.storage import Need, Store
from longspan.storage.preflight import require_access
from tests.s3 import LIMITED_BUCKET, S3Server, credentials, limited

pytestmark = pytest.mark.real

RECIPE = parse_recipe(
    {
        "name": "mine",
        "base_model": "x",
        "target_context": 64,
        "training": {"tokens_per_update": 512},
        "corpora": [{"name": "books", "path": "corpora/books/*.jsonl", "weight": 1}],
    }
)


def test_everything_that_is_missing_is_named_at_once(s3_server: S3Server) -> None:
    root = f"s3://{s3_server.bucket}/preflight"
    owner = Store(root, endpoint=s3_server.endpoint)
    owner.write_bytes("corpora/books/a.jsonl", b"{}")
    needs = run_needs(RECIPE, f"{root}/models/base")
    owner.write_bytes("models/base/config.json", b"{}")
    require_access(owner, needs)
    assert [item.path for item in owner.list("")] == [
        "corpora/books/a.jsonl",
        "models/base/config.json",
    ], "nothing is left behind"

    with credentials(s3_server.reader), pytest.raises(UserError) as raised:
        require_access(Store(root, endpoint=s3_server.endpoint), needs)
    lines = str(raised.value).splitlines()
    assert lines[0] == "missing permissions:"
    write = ["PutObject", "AbortMultipartUpload"]
    for folder, actions in {"shards": write, "runs/mine": [*write, "DeleteObject"]}.items():
        place = f"on {root}/{folder}/.longspan-probe"
        denied = [line for line in lines if line.endswith(place)]
        assert denied == [f"  storage.root: s3:{action} {place}" for action in actions], lines
    assert not any("corpora" in line or "base_model" in line for line in lines)
    assert "AWS_ACCESS_KEY_ID" in lines[-1]
    assert s3_server.reader.secret not in str(raised.value)


def test_a_corpus_in_a_bucket_that_may_not_be_read(s3_server: S3Server) -> None:
    s3_server.client().create_bucket(Bucket="closed-to-readers")
    s3_server.client().put_object(Bucket="closed-to-readers", Key="web/a.jsonl", Body=b"{}")
    corpus = RECIPE.corpora[0].model_copy(update={"path": "s3://closed-to-readers/web"})
    needs = run_needs(RECIPE.model_copy(update={"corpora": [corpus]}), "/models/base")
    store = Store(f"s3://{s3_server.bucket}/preflight", endpoint=s3_server.endpoint)
    with credentials(s3_server.reader), pytest.raises(UserError) as raised:
        require_access(store, needs)
    assert "corpora.books.path: s3:ListBucket on s3://closed-to-readers/web" in str(raised.value)


AT = f"s3://{LIMITED_BUCKET}"
NEEDS = run_needs(RECIPE, "/models/base")
PROBES = [f"{AT}/p/{folder}/.longspan-probe" for folder in ("shards", "runs/mine")]


@pytest.fixture
def root(s3_server: S3Server) -> Iterator[str]:
    """A store with a corpus in a bucket that lasts for one test."""
    client = s3_server.client()
    client.create_bucket(Bucket=LIMITED_BUCKET)
    Store(f"{AT}/p", endpoint=s3_server.endpoint).write_bytes("corpora/books/a.jsonl", b"{}")
    yield f"{AT}/p"
    Store(AT, endpoint=s3_server.endpoint).delete("p")
    client.delete_bucket(Bucket=LIMITED_BUCKET)


def missing(s3_server: S3Server, root: str, user: str) -> list[str]:
    """The permissions that a preflight says a user lacks."""
    with credentials(limited(user)), pytest.raises(UserError) as raised:
        require_access(Store(root, endpoint=s3_server.endpoint), NEEDS)
    head, *lines, _advice = str(raised.value).split("\n")
    assert head == "missing permissions:"
    assert "secret-" not in str(raised.value)
    return [line.strip() for line in lines]


def test_rights_on_the_runs_and_shards_alone_are_enough(s3_server: S3Server, root: str) -> None:
    with credentials(limited("enough")):
        store = Store(root, endpoint=s3_server.endpoint)
        require_access(store, NEEDS)
        assert [item.path for item in store.list("")] == ["corpora/books/a.jsonl"]


def test_rights_that_are_missing(s3_server: S3Server, root: str) -> None:
    assert missing(s3_server, root, "no-list") == [
        f"storage.root: s3:ListBucket on {AT}/p/",
        f"corpora.books.path: s3:ListBucket on {AT}/p/corpora/books/",
    ]
    assert missing(s3_server, root, "no-read") == [
        f"corpora.books.path: s3:GetObject on {AT}/p/corpora/books/a.jsonl",
        f"storage.root: s3:GetObject on {PROBES[0]}",
        f"storage.root: s3:ListBucket on {AT}/",  # This server takes it for a kind of reading.
        f"storage.root: s3:GetObject on {PROBES[1]}",
    ]
    assert missing(s3_server, root, "only-runs") == [
        f"storage.root: s3:{action} on {PROBES[0]}"
        for action in ("PutObject", "AbortMultipartUpload")
    ]


@contextmanager
def denied(s3_server: S3Server, action: str, folder: str) -> Iterator[None]:
    """A policy of the bucket that nobody may do something below a folder."""
    deny = {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "deny",
            "Effect": "Deny",
            "Principal": "*",
            "Action": f"s3:{action}",
            "Resource": f"arn:aws:s3:::{LIMITED_BUCKET}/p/{folder}/*",
        },
    }
    s3_server.client().put_bucket_policy(Bucket=LIMITED_BUCKET, Policy=json.dumps(deny))
    try:
        yield
    finally:
        s3_server.client().delete_bucket_policy(Bucket=LIMITED_BUCKET)


@pytest.mark.parametrize("action", ["DeleteObject", "AbortMultipartUpload", "GetObject"])
def test_a_policy_that_denies_one_action(s3_server: S3Server, root: str, action: str) -> None:
    with denied(s3_server, action, "runs"):
        for _ in range(2):
            found = missing(s3_server, root, "enough")
            assert found == [f"storage.root: s3:{action} on {PROBES[1]}"]

    # What can't be deleted is one object, however often it was tried.
    left = Store(root, endpoint=s3_server.endpoint).list("runs")
    assert [item.path for item in left] == ["runs/mine/.longspan-probe"] * (
        action == "DeleteObject"
    )


def test_what_may_not_be_deleted_below_shards_is_no_hindrance(
    s3_server: S3Server, root: str
) -> None:
    with denied(s3_server, "DeleteObject", "shards"), credentials(limited("enough")):
        require_access(Store(root, endpoint=s3_server.endpoint), NEEDS)


def test_arrow_writes_checkpoints_with_no_right_above_the_runs(
    s3_server: S3Server, root: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "state").write_bytes(b"1")
    with credentials(limited("only-runs")):
        store = Store(root, endpoint=s3_server.endpoint)
        store.write_bytes("runs/mine/data/data.json", b"{}")  # As every run does first.
        filesystem, path = store.filesystem_and_path("runs/mine/1")
        filesystem.create_dir(path)
        fs.copy_files(str(tmp_path), path, destination_filesystem=filesystem)
        filesystem.delete_dir(path)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("no folder")
    with pytest.raises(UserError, match=r"storage\.root: .*/shards must be a folder") as raised:
        require_access(Store(str(tmp_path)), [Need("add", "shards", "storage.root")])
    assert "AWS" not in str(raised.value)
