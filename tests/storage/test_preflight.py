"""What a run may not do is said before it starts: all of it, by action and key."""

import pytest

from longspan.errors import UserError
from longspan.recipe.load import parse_recipe
from longspan.recipe.sources import run_needs
from longspan.storage import Store
from tests.s3 import S3Server, credentials

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
    owner.preflight(needs)
    assert [item.path for item in owner.list("")] == [
        "corpora/books/a.jsonl",
        "models/base/config.json",
    ], "nothing is left behind"

    with credentials(s3_server.reader), pytest.raises(UserError) as raised:
        Store(root, endpoint=s3_server.endpoint).preflight(needs)
    lines = str(raised.value).splitlines()
    assert lines[0] == "this run may not do all that it needs to:"
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
        store.preflight(needs)
    assert "corpora.books.path: s3:ListBucket on s3://closed-to-readers/web" in str(raised.value)
