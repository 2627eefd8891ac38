"""Roots and endpoints that cannot be right."""

import pytest

from longspan.errors import UserError
from longspan.storage import Store


@pytest.mark.parametrize("root", ["gs://bucket/x", "http://host/x"])
def test_other_schemes(root: str) -> None:
    with pytest.raises(UserError, match=r"storage\.root: \w+:// is not known"):
        Store(root)


@pytest.mark.parametrize("root", ["s3://KEY:hidden@bucket/x", "s3://"])
def test_credentials_have_no_place_in_a_root(root: str) -> None:
    with pytest.raises(UserError, match="s3://bucket/prefix") as raised:
        Store(root)

    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["http://KEY:hidden@host:1", "host:9000", "ftp://host"])
def test_endpoints(endpoint: str) -> None:
    with pytest.raises(UserError, match=r"storage\.endpoint: must be http://host:port") as raised:
        Store("s3://bucket", endpoint=endpoint)

    assert "hidden" not in str(raised.value)


def test_a_recipe_has_no_credentials_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "http://minio.internal:9000"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(
        UserError, match=r"storage\.endpoint: .*LONGSPAN_HTTP_HOSTS=minio\.internal"
    ):
        Store("s3://bucket", endpoint=address)

    Store("s3://bucket", endpoint="https://minio.internal:9000")
    # Two words of whoever runs the job.
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    assert Store("s3://bucket").endpoint == address
    monkeypatch.setenv("LONGSPAN_HTTP_HOSTS", "minio.internal")
    assert Store("s3://bucket", endpoint=address).endpoint == address


def test_addresses() -> None:
    store = Store("s3://bucket/some/prefix/", endpoint="http://127.0.0.1:1")

    assert store.uri() == "s3://bucket/some/prefix"
    assert store.uri("a/b") == "s3://bucket/some/prefix/a/b"
    assert store.uri("s3://other/a") == "s3://other/a"
    assert store.uri("/local/a") == "/local/a"


def test_the_endpoint_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    assert Store("s3://bucket").endpoint == "http://127.0.0.1:1"
    assert Store("s3://bucket", endpoint="http://127.0.0.1:2").endpoint == "http://127.0.0.1:2"
