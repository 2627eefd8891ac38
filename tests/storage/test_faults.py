"""A bad network, or a bad disk behind it: what arrives is what was written, or nothing is."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from longspan.errors import Unreachable, UserError
from longspan.storage import Store, sealed
from tests.fault_proxy import TRANSIENT, Faults, faulty
from tests.s3 import S3Server

pytestmark = pytest.mark.real

SLOW = ("slow_down", "stall")
"""Faults that clients wait out, for ten seconds a test."""
KINDS = [pytest.param(kind, marks=[pytest.mark.deep] if kind in SLOW else []) for kind in TRANSIENT]

MIB = 2**20
LARGE = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(17 * MIB // 32))


@pytest.fixture
def stored(s3_server: S3Server, request: pytest.FixtureRequest) -> Store:
    """A store with a few objects, reached without faults."""
    # Always the same names: they decide what goes wrong.
    root = f"s3://{s3_server.bucket}/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}"
    store = Store(root, endpoint=s3_server.endpoint)
    store.write_bytes("in/large", LARGE)  # In parts.
    store.write_bytes("in/empty", b"")
    for number in range(4):
        store.write_bytes(f"in/{number}", LARGE[:100_000])
    store.write_bytes("sealed.json", sealed.dumps({"tokens": 7}))
    return store


def content(store: Store, path: str, version: str | None = None) -> bytes:
    with store.local(path, version) as copy:
        assert copy.verified
        return Path(copy.path).read_bytes()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(Faults(gone=True), id="gone"),
        pytest.param(Faults(slow_down=1.0), id="busy", marks=pytest.mark.deep),
    ],
)
def test_a_server_that_does_not_answer_is_told_from_a_mistake(
    stored: Store, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.storage.s3.ATTEMPTS", 2)
    (tmp_path / "x").write_bytes(b"1")
    with faulty(stored.endpoint or "", faults) as proxy:
        store = Store(stored.root, endpoint=proxy.endpoint)
        for action in (
            lambda: store.list("in"),
            lambda: store.exists("in/1"),
            lambda: store.read_bytes("in/1"),
            lambda: store.read_bytes("in/1", 5, 10),
            lambda: store.write_bytes("out/x", b"1"),
            lambda: store.upload(tmp_path, "out"),
            lambda: store.delete("in/1"),
        ):
            with pytest.raises(Unreachable):
                action()
        proxy.faults = Faults()
        assert store.read_bytes("in/1") == LARGE[:100_000]


@pytest.mark.parametrize("kind", KINDS)
def test_transient_faults_change_nothing(stored: Store, kind: str, tmp_path: Path) -> None:
    listed = stored.list("in")
    with faulty(stored.endpoint or "", TRANSIENT[kind]) as proxy:
        store = Store(stored.root, endpoint=proxy.endpoint)
        assert store.list("in") == listed
        for item in listed:
            assert content(store, item.path, item.version) == stored.read_bytes(item.path)
        assert sealed.read(store, "sealed.json") == {"tokens": 7}
        store.download("in", tmp_path)
        assert store.read_bytes("in/1") == LARGE[:100_000]
        if kind != "flip":  # Reads of parts are for what carries its own checksum.
            assert store.read_bytes("in/large", 5, 8 * MIB) == LARGE[5 : 8 * MIB + 5]
        store.write_bytes("out/large", LARGE)
        store.upload(tmp_path, "up")
        filesystem, path = store.filesystem_and_path("out/arrow")
        with filesystem.open_output_stream(path) as sink:  # Ray's way to write checkpoints.
            sink.write(LARGE)
        assert store.exists("out/arrow")
        store.delete("in")
    assert proxy.injected[kind] > 0
    assert stored.list("in") == []
    assert stored.read_bytes("out/large") == stored.read_bytes("out/arrow") == LARGE
    for item in listed:
        name = item.path.removeprefix("in/")
        assert (tmp_path / name).read_bytes() == stored.read_bytes(f"up/{name}")
        assert (tmp_path / name).stat().st_size == item.size


@pytest.mark.parametrize("path", ["in/large", "in/1"])
def test_what_always_arrives_damaged_is_named(stored: Store, path: str, tmp_path: Path) -> None:
    with faulty(stored.endpoint or "", Faults(damaged=path)) as proxy:
        store = Store(stored.root, endpoint=proxy.endpoint)
        message = f"cannot read {store.uri(path)}: what arrives is not what the store says"
        with pytest.raises(UserError, match=message):
            store.local(path)
        with pytest.raises(UserError, match=message):
            store.read_bytes(path)
        with pytest.raises(UserError, match=message):
            store.download("in", tmp_path)
    assert proxy.injected["damaged"] > 1
    assert not (tmp_path / path.removeprefix("in/")).exists()


def test_sealed_json_is_compared_even_if_the_store_tells_nothing(stored: Store) -> None:
    damaged = faulty(stored.endpoint or "", Faults(damaged="sealed", opaque=True))
    with damaged as proxy, pytest.raises(sealed.Damaged):
        sealed.read(Store(stored.root, endpoint=proxy.endpoint), "sealed.json")
    assert proxy.injected["damaged"] == sealed.READS


def test_an_object_that_has_changed_is_named(stored: Store) -> None:
    (before,) = stored.list("in/1")
    stored.write_bytes("in/1", b"another")

    with pytest.raises(UserError, match=r"/in/1 changed while it was being read: submit"):
        stored.local("in/1", before.version)
    assert content(stored, "in/1") == b"another"


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("x", b"1")
    (info,) = store.list("x")

    changed = pytest.raises(UserError, match="x changed while it was being read")
    with changed, store.local("x", info.version):
        store.write_bytes("x", b"22")


def test_a_server_that_tells_nothing_of_the_content(stored: Store) -> None:
    with (
        faulty(stored.endpoint or "", Faults(opaque=True)) as proxy,
        Store(stored.root, endpoint=proxy.endpoint).local("in/large") as copy,
    ):
        assert not copy.verified
        assert Path(copy.path).read_bytes() == LARGE


def test_parts_of_any_sizes_are_compared(s3_server: S3Server) -> None:
    client = s3_server.client()
    sizes = (5 * MIB, 6 * MIB, 5 * MIB, MIB)
    at = {"Bucket": s3_server.bucket, "Key": "uneven"}
    upload = {**at, "UploadId": client.create_multipart_upload(**at)["UploadId"]}
    parts, start = [], 0
    for number, size in enumerate(sizes, 1):
        body = LARGE[start : start + size]
        reply = client.upload_part(**upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": reply["ETag"]})
        start += size
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    with faulty(s3_server.endpoint, Faults(flip=True)) as proxy:
        store = Store(f"s3://{s3_server.bucket}", endpoint=proxy.endpoint)
        assert content(store, "uneven") == LARGE
    assert proxy.injected["flip"] == 1


COPY_WITH_LITTLE_ROOM = """
import resource, sys
from longspan.errors import Unreachable, UserError
from longspan.storage import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Store(sys.argv[1], endpoint=sys.argv[2]).local("in/large")
except UserError as error:
    print(error)
"""


def test_no_room_for_a_copy(stored: Store) -> None:
    command = [sys.executable, "-c", COPY_WITH_LITTLE_ROOM, stored.root, stored.endpoint or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert f"cannot write a copy of {stored.uri('in/large')} in " in done.stdout
    assert "(TMPDIR): File too large; make room" in done.stdout
