"""What messages show of addresses."""

import pickle

import pytest

from longspan.addresses import is_loopback, may_send_credentials, redacted
from longspan.errors import Unreachable, UserError, user_error_in

SIGNED = (
    "https://bucket.s3.amazonaws.com/key?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026&X-Amz-Security-Token=tok"
    "&X-Amz-Signature=abc123"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "cannot reach http://me:pass@proxy:3128: refused",
            "cannot reach http://***@proxy:3128: refused",
        ),
        (f"403 for url '{SIGNED}'", "403 for url 'https://bucket.s3.amazonaws.com/key?***'"),
        ("sent Authorization: Bearer abcdef123456789", "sent Authorization: Bearer ***"),
        ("key AKIAIOSFODNN7EXAMPLE, token hf_" + "a" * 34, "key ***, token ***"),
        ("s3://me:pass@bucket/key", "s3://***@bucket/key"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert str(UserError(text)) == str(Unreachable(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "corpora.long: s3://bucket/a/*.jsonl?(x) matches no object",
        "base_model: there is no model 'hf_models/tiny' at http://127.0.0.1:9000",
        "mail me@example.org, or see https://host/path#a=b",
        "the bearer of this is basic",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_an_error_is_redacted_wherever_it_travels() -> None:
    error = pickle.loads(pickle.dumps(Unreachable(f"no answer from {SIGNED}")))
    wrapped = RuntimeError("a worker failed")
    wrapped.__cause__ = error
    assert "abc123" not in f"{user_error_in(wrapped)!r} {error.args}"


def test_loopback_is_told_by_the_name_alone() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    others = ("127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "127.1", "")
    assert not any(map(is_loopback, others))


def test_what_may_be_sent_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGSPAN_HTTP_HOSTS", "Minio.internal , 10.0.0.5")
    good = (
        "https://host",
        "http://127.0.0.1:9000",
        "http://minio.internal:9000",
        "http://10.0.0.5",
    )
    assert all(map(may_send_credentials, good))
    bad = (
        "http://host",
        "http://10.0.0.5.example.org",
        "http://127.0.0.1@host/",
        "ftp://127.1",
        "",
    )
    assert not any(map(may_send_credentials, bad))
