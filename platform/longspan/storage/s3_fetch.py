"""Copies of S3 objects that are known to be what the store holds.

s3transfer repeats what ends early or stalls, and reads one version of the object only. A flipped
byte passes it by: the copy is compared with what the store says, and made again if it differs.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError, FlexibleChecksumError
from s3transfer.exceptions import S3DownloadFailedError

from longspan.errors import DamagedObject, UserError
from longspan.storage.checksums import stated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

COPIES = 3
"""How often an object is fetched before what arrives is believed to be what the store has."""
ATTEMPTS = 10
"""How often a part of it is asked for, and an object that is being replaced."""
PART = 2**24
CONNECTIONS = 4
NOT_TOLD = {"400", "405", "416", "501"}
"""Answers of servers that do not know of parts."""


class Fetch:
    """The copying of one object.

    Args:
        client: boto3's.
        bucket: the bucket's name.
        key: the object's.
        uri: how a person names it.
    """

    def __init__(self, client: S3Client, bucket: str, key: str, uri: str) -> None:
        self._client = client
        self._object = {"Bucket": bucket, "Key": key}
        self._uri = uri

    def into(self, file: BinaryIO, version: str | None) -> bool:
        """Copy the object into an empty file, and compare.

        Args:
            file: to be read, written and searched.
            version: the ETag that the object must have; None is any.

        Returns:
            Whether the copy could be compared; False where only its size could.

        Raises:
            UserError: the object is another one by now, or keeps arriving damaged.
        """
        left = COPIES
        for _ in range(ATTEMPTS):
            head = self._client.head_object(**self._object, ChecksumMode="ENABLED")
            if version is not None and head["ETag"].strip('"') != version:
                raise self._changed()
            file.seek(0)
            file.truncate()
            try:
                same = self._copied(head, file) and self._same(head, file)
            except S3DownloadFailedError:  # Replaced since the reply.
                continue
            if same is not False:
                return bool(same)
            left -= 1
            if not left:
                raise DamagedObject(
                    f"cannot read {self._uri}: what arrives is not what the store says it holds, "
                    f"{COPIES} times in a row: the object is damaged there, or on the way from there"
                )
        raise self._changed()

    def _copied(self, head: HeadObjectOutputTypeDef, file: BinaryIO) -> bool:
        """Copy what a reply is about; whether as many bytes arrived."""
        from boto3.s3.transfer import TransferConfig, create_transfer_manager
        from s3transfer.subscribers import BaseSubscriber

        class Known(BaseSubscriber):
            """Spares s3transfer a request, and pins the version."""

            def on_queued(self, future: Any, **_: Any) -> None:
                future.meta.provide_transfer_size(head["ContentLength"])
                future.meta.provide_object_etag(head["ETag"])

        config = TransferConfig(
            multipart_threshold=1,  # Only what is fetched in parts is pinned to a version.
            multipart_chunksize=PART,
            max_concurrency=CONNECTIONS,
            num_download_attempts=ATTEMPTS,
            preferred_transfer_client="classic",
        )
        bucket, key = self._object["Bucket"], self._object["Key"]
        try:
            with create_transfer_manager(self._client, config) as manager:
                manager.download(bucket, key, file, subscribers=[Known()]).result()
        except FlexibleChecksumError:  # boto3's own comparison.
            return False
        file.flush()
        return os.fstat(file.fileno()).st_size == head["ContentLength"]

    def _same(self, head: HeadObjectOutputTypeDef, file: BinaryIO) -> bool | None:
        """Whether a copy is the object that a reply is about; None where that cannot be told."""
        size = head["ContentLength"]
        checksum = stated(head)
        if not size:
            return True
        if checksum is None:
            return None
        if not checksum.parts:
            return checksum.matches(file, [size])
        # Nearly always all parts but the last are of one size, and asking for each takes long.
        first = self._part_size(head["ETag"], 1)
        last = size - first * (checksum.parts - 1)
        if last >= 0 and checksum.matches(file, [first] * (checksum.parts - 1) + [last]):
            return True
        sizes = [self._part_size(head["ETag"], n + 1) for n in range(checksum.parts)]
        return checksum.matches(file, sizes) if sum(sizes) == size else None

    @cache  # noqa: B019 - lives as long as the fetch
    def _part_size(self, etag: str, number: int) -> int:
        """Bytes of a part; 0 where the server does not tell."""
        try:
            part = self._client.head_object(**self._object, PartNumber=number, IfMatch=etag)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in NOT_TOLD:
                return 0
            raise
        return part["ContentLength"]

    def _changed(self) -> UserError:
        return UserError(f"{self._uri} changed while it was being read: submit the job again")
