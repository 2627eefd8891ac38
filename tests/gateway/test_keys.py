import hashlib
import logging
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.serve.gateway import keys
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.keyring import UNREADABLE_GRACE_SECONDS, KeyRing
from longspan.storage import Store
from tests.gateway.conftest import until
from tests.s3 import credentials


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_key_is_printed_once_and_kept_as_a_hash(store, capsys):
    assert main(["keys", "add", "alice", "--concurrent", "2", "--store", store.root]) == 0
    token = capsys.readouterr().out.strip()
    assert token.startswith("ls-") and len(token) == 46
    kept = store.read_bytes("keys/alice.json").decode()
    assert token[3:] not in kept
    assert hashlib.sha256(token.encode()).hexdigest() in kept
    assert main(["keys", "list", "--store", store.root]) == 0
    shown = capsys.readouterr().out
    limits = "requests per minute 120, concurrent 2, tokens per minute 400000\n"
    assert shown.startswith("alice  20") and shown.endswith(limits)
    assert token[3:7] not in shown


def test_mistakes_are_told(store, capsys):
    keys.add(store, "alice")
    for arguments, words in (
        (["add", "alice"], "there is a key named alice already"),
        (["add", "../alice"], "cannot be a key's name"),
        (
            ["add", "bob", "--requests-per-minute", "0"],
            "--requests-per-minute 0: must be 1 or more",
        ),
        (["revoke", "bob"], "no key named bob; there are: alice"),
    ):
        assert main(["keys", *arguments, "--store", store.root]) == 2
        assert words in capsys.readouterr().err
    assert [name for name, _ in keys.listed(store)] == ["alice"]


def test_a_key_has_limits_unless_it_is_asked_for_none(store, capsys):
    assert main(["keys", "add", "alice", "--store", store.root]) == 0
    assert keys.load(store, "keys/alice.json").limits == keys.DEFAULT_LIMITS
    unlimited = [f"--{name}=unlimited" for name in ("concurrent", "requests-per-minute")]
    assert main(["keys", "add", "bob", *unlimited, "--store", store.root]) == 0
    limits = keys.KeyLimits(tokens_per_minute=keys.DEFAULT_LIMITS.tokens_per_minute)
    assert keys.load(store, "keys/bob.json").limits == limits
    capsys.readouterr()


def test_a_key_under_another_name_opens_nothing_and_is_listed(store, caplog, capsys):
    """`keys revoke alice` would leave it."""
    token = keys.add(store, "alice")
    planted = store.read_bytes("keys/alice.json")
    store.write_bytes("keys/zz.json", planted)
    keys.revoke(store, "alice")
    ring = KeyRing(store)
    assert ring.find(token.encode()) is None
    ring.close()
    assert "keys/zz.json describes a key named alice, not zz; delete it" in caplog.text
    assert main(["keys", "list", "--store", store.root]) == 0
    assert capsys.readouterr().out.startswith("zz  not accepted: ")
    keys.revoke(store, "zz")


def test_the_first_key_is_made_where_there_is_none(store):
    token = keys.first_key(store)
    assert token is not None
    assert keys.first_key(store) is None
    ring = KeyRing(store)
    found = ring.find(token.encode())
    ring.close()
    assert found is not None and found.name == "default"


def test_a_running_service_learns_of_new_and_revoked_keys(store):
    old = keys.add(store, "old").encode()
    ring = KeyRing(store, every_seconds=0.01)
    new = keys.add(store, "new", keys.KeyLimits(concurrent=3)).encode()
    until(lambda: ring.find(new))
    assert [(key.name, key.limits.concurrent) for key in map(ring.find, (new, old)) if key] == [
        ("new", 3),
        ("old", 8),
    ]
    keys.revoke(store, "old")
    until(lambda: ring.find(old) is None)
    assert ring.find(new) is not None
    ring.close()


class Gone(Store):
    refuses = False
    refusals = 0

    def list(self, pattern, limit=None):
        if self.refuses:
            self.refusals += 1
            raise UserError("the store is gone")
        return super().list(pattern, limit)


class Counting(Store):
    looks = reads = 0

    def list(self, pattern, limit=None):
        self.looks += 1
        return super().list(pattern, limit)

    def read_bytes(self, path, offset=None, length=None):
        self.reads += 1
        return super().read_bytes(path, offset, length)


def test_only_what_changed_is_read_again(store):
    keys.add(store, "alice")
    counting = Counting(store.root)
    ring = KeyRing(counting, every_seconds=0.01)
    until(lambda: counting.looks > 3)
    assert counting.reads == 1
    new = keys.add(store, "bob").encode()
    until(lambda: ring.find(new))
    assert counting.reads == 2
    ring.close()


def test_keys_stay_when_the_store_cannot_be_read_and_the_log_says_so_once(store, caplog):
    caplog.set_level(logging.WARNING, logger="longspan.serve.gateway.keyring")
    token = keys.add(store, "alice").encode()
    gone = Gone(store.root)
    ring = KeyRing(gone, every_seconds=0.01)
    gone.refuses = True
    until(lambda: caplog.messages)
    assert "API keys stay as they were" in caplog.text
    assert ring.find(token) is not None
    gone.refuses = False
    until(lambda: len(caplog.messages) > 1)
    assert caplog.messages[1:] == ["API keys are read from the store again"]
    ring.close()


def test_an_object_that_is_no_key_is_passed_over_and_told_once(store, caplog):
    caplog.set_level(logging.WARNING, logger="longspan.serve.gateway.keyring")
    token = keys.add(store, "alice").encode()
    store.write_bytes("keys/bob.json", b"{}")
    store.write_bytes("keys/big.json", b" " * 10_000_000 + store.read_bytes("keys/alice.json"))
    ring = KeyRing(store, every_seconds=0.01)
    assert ring.find(token) is not None
    keys.revoke(store, "alice")
    until(lambda: ring.find(token) is None)
    large, said = caplog.messages
    assert "keys/big.json is larger than any API key" in large
    assert "keys/bob.json describes no API key (name: Field required)" in said
    ring.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unreadable(Gone):
    """Some of its objects cannot be read, as with a KMS key or a storage class that the role may not use."""

    def __init__(self, root: str, *paths: str) -> None:
        super().__init__(root)
        self.paths = set(paths)

    def read_bytes(self, path, offset=None, length=None):
        if path in self.paths:
            raise UserError(f"{path}: access denied")
        return super().read_bytes(path, offset, length)


def test_one_object_that_cannot_be_read_stops_no_start_no_revocation_and_no_new_key(store, caplog):
    caplog.set_level(logging.WARNING, logger="longspan.serve.gateway.keyring")
    old = keys.add(store, "old").encode()
    keys.add(store, "bad")
    ring = KeyRing(Unreadable(store.root, "keys/bad.json"), every_seconds=0.01)
    new = keys.add(store, "new").encode()
    keys.revoke(store, "old")
    until(lambda: ring.find(new) and ring.find(old) is None)
    ring.close()
    (said,) = caplog.messages
    assert "keys/bad.json cannot be read; it is tried again" in said


def test_a_link_to_itself_among_the_keys_is_passed_over(store):
    token = keys.add(store, "alice").encode()
    (Path(store.root) / "keys/loop.json").symlink_to("loop.json")
    ring = KeyRing(store, every_seconds=0.01)
    assert ring.find(token)
    keys.revoke(store, "alice")
    until(lambda: ring.find(token) is None)
    ring.close()


def test_a_key_that_is_replaced_and_cannot_be_read_stays_for_a_while_and_not_for_ever(store):
    token, clock = keys.add(store, "alice").encode(), Clock()
    unreadable = Unreadable(store.root)
    ring = KeyRing(unreadable, every_seconds=0.01, clock=clock)
    unreadable.paths.add("keys/alice.json")
    unreadable.refuses = True  # No look sees the moment without the key.
    until(lambda: unreadable.refusals)
    keys.revoke(store, "alice")
    replaced = keys.add(store, "alice").encode()
    unreadable.refuses = False
    until(lambda: ring._known["keys/alice.json"].stale_since)
    assert ring.find(token) and ring.find(replaced) is None
    clock.now += UNREADABLE_GRACE_SECONDS + 1
    until(lambda: ring.find(token) is None)
    unreadable.paths.clear()
    until(lambda: ring.find(replaced))
    ring.close()


def test_no_key_is_accepted_when_the_store_has_not_been_read_for_long(store):
    token, clock, ages = keys.add(store, "alice").encode(), Clock(), []
    gone = Gone(store.root)
    ring = KeyRing(gone, every_seconds=0.01, max_age_s=3600, clock=clock, on_look=ages.append)
    gone.refuses = True
    clock.now += 3500
    until(lambda: ages[-1:] == [3500])
    assert ring.find(token)
    clock.now += 101
    with pytest.raises(Refusal, match="cannot check API keys now") as refused:
        ring.find(token)
    assert (refused.value.status, refused.value.code) == (503, "keys_unavailable")
    gone.refuses = False
    until(lambda: ages[-1] < 1)
    assert ring.find(token)
    ring.close()


@pytest.mark.real
def test_keys_lie_in_a_bucket_as_well(s3_server):
    with credentials(s3_server.owner):
        store = Store(f"s3://{s3_server.bucket}/gateway", endpoint=s3_server.endpoint)
        token = keys.first_key(store)
        ring = KeyRing(store, every_seconds=0.01)
        assert token is not None and ring.find(token.encode()) is not None
        keys.revoke(store, "default")
        until(lambda: ring.find(token.encode()) is None)
        ring.close()
