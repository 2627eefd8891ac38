import hashlib
import logging

import pytest

from longspan.doors import keys
from longspan.doors.keyring import KeyRing
from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.storage import Store
from tests.doors.conftest import until
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
    assert shown.startswith("alice  20") and shown.endswith("concurrent 2\n")
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
    assert [key.name for key in keys.listed(store)] == ["alice"]


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
        ("old", None),
    ]
    keys.revoke(store, "old")
    until(lambda: ring.find(old) is None)
    assert ring.find(new) is not None
    ring.close()


class Gone(Store):
    refuses = False

    def list(self, pattern, limit=None):
        if self.refuses:
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
    caplog.set_level(logging.WARNING, logger="longspan.doors.keyring")
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
    caplog.set_level(logging.WARNING, logger="longspan.doors.keyring")
    token = keys.add(store, "alice").encode()
    store.write_bytes("keys/bob.json", b"{}")
    ring = KeyRing(store, every_seconds=0.01)
    assert ring.find(token) is not None
    keys.revoke(store, "alice")
    until(lambda: ring.find(token) is None)
    (said,) = caplog.messages
    assert "keys/bob.json describes no API key (name: Field required)" in said
    ring.close()


@pytest.mark.real
def test_keys_lie_in_a_bucket_as_well(s3_server):
    with credentials(s3_server.owner):
        store = Store(f"s3://{s3_server.bucket}/doors", endpoint=s3_server.endpoint)
        token = keys.first_key(store)
        ring = KeyRing(store, every_seconds=0.01)
        assert token is not None and ring.find(token.encode()) is not None
        keys.revoke(store, "default")
        until(lambda: ring.find(token.encode()) is None)
        ring.close()
