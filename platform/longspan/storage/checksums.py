"""What an S3 server says an object is: checksums that a copy of it is compared with."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

CHUNK = 2**20
FIELDS = {"ChecksumSHA256": "sha256", "ChecksumSHA1": "sha1", "ChecksumCRC32": "crc32"}
"""Those of HeadObject's that the standard library can compute."""
MD5 = re.compile(r"([0-9a-f]{32})(?:-([1-9][0-9]*))?")
ETAGS_ARE_MD5 = (None, "AES256")
"""Server-side encryptions under which an ETag is the content's MD5; with KMS it only looks like it."""


@dataclass(frozen=True)
class Checksum:
    """A checksum of an object.

    Attributes:
        algorithm: "sha256", "sha1", "crc32" or "md5".
        value: the checksum.
        parts: 0 where it is the content's; else it is the checksum of the checksums of the parts,
            joined, in which the object was uploaded, and this is their number.
    """

    algorithm: str
    value: bytes
    parts: int = 0

    def matches(self, file: BinaryIO, sizes: Sequence[int]) -> bool:
        """Whether a file's content has this checksum.

        Args:
            file: the content, from its beginning to its end.
            sizes: bytes of each part, which add up to the file's size; the one size of a whole.
        """
        file.seek(0)
        parts = [self._digest(file, size) for size in sizes]
        if not self.parts:
            return parts == [self.value]
        joined = _hasher(self.algorithm)
        joined.update(b"".join(parts))
        return len(parts) == self.parts and joined.digest() == self.value

    def _digest(self, file: BinaryIO, size: int) -> bytes:
        hasher = _hasher(self.algorithm)
        while size and (chunk := file.read(min(CHUNK, size))):
            hasher.update(chunk)
            size -= len(chunk)
        return hasher.digest()


def stated(head: HeadObjectOutputTypeDef) -> Checksum | None:
    """The best checksum in a reply to HeadObject with ChecksumMode=ENABLED; None where there is none.

    One of the whole content is preferred to one of parts, and a checksum made to be one to an ETag.
    """
    found = [
        _parsed(algorithm, str(value))
        for field, algorithm in FIELDS.items()
        if (value := head.get(field))
    ]
    etag = MD5.fullmatch(head.get("ETag", "").strip('"'))
    encrypted = head.get("ServerSideEncryption") not in ETAGS_ARE_MD5
    if etag and not encrypted and not head.get("SSECustomerAlgorithm"):
        found.append(Checksum("md5", bytes.fromhex(etag[1]), int(etag[2] or 0)))
    return min(found, key=lambda checksum: checksum.parts > 0, default=None)


def _parsed(algorithm: str, text: str) -> Checksum:
    value, _, parts = text.partition("-")
    return Checksum(algorithm, base64.b64decode(value), int(parts or 0))


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(4, "big")


def _hasher(algorithm: str) -> _Hasher:
    # The MD5 finds damage; nobody's security rests on it.
    return _Crc32() if algorithm == "crc32" else hashlib.new(algorithm, usedforsecurity=False)
