"""What a server's replies say of an object's content, as AWS documents its checksums."""

import base64
import hashlib
import io
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.storage.checksums import Checksum, stated

PARTS = [b"first part", b"second part", b"3"]
WHOLE = b"".join(PARTS)
MD5 = hashlib.md5(WHOLE).hexdigest()
MD5_OF_PARTS = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in PARTS)).hexdigest()
SHA = base64.b64encode(hashlib.sha256(WHOLE).digest()).decode()
CRCS = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in PARTS)
CRC_OF_PARTS = base64.b64encode(zlib.crc32(CRCS).to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("head", "algorithm", "parts"),
    [
        ({"ETag": f'"{MD5}"'}, "md5", 0),
        ({"ETag": f'"{MD5}"', "ServerSideEncryption": "AES256"}, "md5", 0),
        ({"ETag": f'"{MD5_OF_PARTS}-3"'}, "md5", 3),
        ({"ETag": f'"{MD5}"', "ChecksumSHA256": SHA}, "sha256", 0),
        ({"ETag": f'"{MD5_OF_PARTS}-3"', "ChecksumSHA256": SHA}, "sha256", 0),
        ({"ETag": f'"{MD5_OF_PARTS}-3"', "ChecksumCRC32": f"{CRC_OF_PARTS}-3"}, "crc32", 3),
        ({"ETag": f'"{MD5}"', "ChecksumCRC32": f"{CRC_OF_PARTS}-3"}, "md5", 0),
        ({"ETag": f'"{MD5}"', "ChecksumCRC64NVME": "AAAAAAAAAAA="}, "md5", 0),
    ],
)
def test_stated(head: Any, algorithm: str, parts: int) -> None:
    checksum = stated(head)
    sizes = [len(part) for part in PARTS] if parts else [len(WHOLE)]

    assert checksum
    assert (checksum.algorithm, checksum.parts) == (algorithm, parts)
    assert checksum.matches(io.BytesIO(WHOLE), sizes)
    assert not checksum.matches(io.BytesIO(WHOLE[:-1] + b"4"), sizes)


@pytest.mark.parametrize(
    "head",
    [
        {"ETag": f'"{MD5}"', "ServerSideEncryption": "aws:kms"},
        {"ETag": f'"{MD5}"', "SSECustomerAlgorithm": "AES256"},
        {"ETag": '"a-name-of-its-own"', "ChecksumCRC32C": "AAAAAA=="},
    ],
)
def test_nothing_stated(head: Any) -> None:
    assert stated(head) is None


@given(content=st.binary(), cuts=st.lists(st.integers(0, 50), max_size=4))
def test_parts_of_other_sizes_are_another_checksum(content: bytes, cuts: list[int]) -> None:
    sizes = [*cuts, max(0, len(content) - sum(cuts))]
    digests = [hashlib.md5(part).digest() for part in _cut(content, sizes)]
    value = hashlib.md5(b"".join(digests)).digest()

    assert Checksum("md5", value, len(sizes)).matches(io.BytesIO(content), sizes)
    assert not Checksum("md5", value, len(sizes) + 1).matches(io.BytesIO(content), sizes)


def _cut(content: bytes, sizes: list[int]) -> list[bytes]:
    stream = io.BytesIO(content)
    return [stream.read(size) for size in sizes]
