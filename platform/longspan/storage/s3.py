"""Objects in an S3 bucket, on AWS or any server that speaks its protocol.

Parts of objects are read through Arrow, whose standard retry strategy also repeats reads that end
early (boto3's client does not); everything else goes through boto3, and copies of whole objects are
compared with what the store says they are. Arrow is not used to write: its output stream commits
what it has when it is closed by an exception, so that half an object appears under its final name.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa
from botocore.exceptions import ClientError
from pyarrow import fs

from longspan.storage import s3_errors
from longspan.storage.folder import Folder
from longspan.storage.local import LocalCopy
from longspan.storage.objects import Access, ObjectInfo
from longspan.storage.s3_fetch import Fetch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 10
CONNECT_SECONDS = 10
REQUEST_SECONDS = 20
"""After which a reply that has stopped coming is asked for again."""
CONNECTIONS = 32
PROBE = ".longspan-probe"
FIRST_ATTEMPTS = 3
EXISTS = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""Answers of a server to a conditional write where the object exists already."""
NOT_DENIED = {"NoSuchKey", "404", "NoSuchUpload", "InvalidRange", "416"}
"""What a server answers to a request that is permitted, about something that is not there."""


class ArrowS3(fs.S3FileSystem):
    """Arrow's filesystem for S3, for Ray Train as well.

    Unlike Arrow's own it keeps its retry strategy when it travels to other processes, and a stream
    that is opened from Python is of a copy that was compared with what the store says.
    """

    def __init__(self, endpoint: str | None, region: str | None) -> None:
        options: dict[str, Any] = {"region": region}
        if endpoint:
            url = urlsplit(endpoint)
            options = {
                "endpoint_override": url.netloc,
                "scheme": url.scheme,
                "region": region or "us-east-1",
            }
        super().__init__(
            **options,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            connect_timeout=CONNECT_SECONDS,
            request_timeout=REQUEST_SECONDS,
            # Else it writes marks for all folders above, where a run may have no permission to.
            check_directory_existence_before_creation=True,
        )
        self._at = endpoint, region

    def __reduce__(self) -> tuple[type[ArrowS3], tuple[str | None, str | None]]:
        return ArrowS3, self._at

    def open_input_stream(self, path: str, *_: Any, **__: Any) -> pa.NativeFile:
        """A whole object (what Ray Train keeps of its checkpoints is a small one)."""
        bucket, _slash, key = path.partition("/")
        with Bucket(bucket, *self._at).local(key, None) as copy, open(copy.path, "rb") as file:
            return pa.BufferReader(file.read())


class Bucket:
    """Keys are object keys in one bucket. Credentials come from the AWS chain, never from here."""

    def __init__(self, name: str, endpoint: str | None, region: str | None) -> None:
        self.name = name
        self.endpoint = endpoint
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self._reached = False

    @cached_property
    def filesystem(self) -> fs.FileSystem:
        """Arrow's view of the server."""
        region = self.region
        if not region and not self.endpoint:
            region = fs.resolve_s3_region(self.name)
        return ArrowS3(self.endpoint, region)

    @cached_property
    def client(self) -> S3Client:
        """boto3's client."""
        return self._client(ATTEMPTS, REQUEST_SECONDS)

    def uri(self, key: str) -> str:
        """The s3:// address."""
        return f"s3://{self.name}/{key}"

    def filesystem_path(self, key: str) -> str:
        """Bucket and key, as Arrow writes them."""
        return f"{self.name}/{key}".rstrip("/")

    def walk(self, prefix: str, depth: int | None = None) -> Iterator[ObjectInfo]:
        """See `Backend.walk`."""
        one_level: dict[str, Any] = {"Delimiter": "/"} if depth == 1 else {}
        pages = self.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.name, Prefix=prefix, **one_level):
                for item in page.get("Contents", []):
                    key, version = item.get("Key", ""), item.get("ETag", "").strip('"')
                    if not key.endswith("/"):  # A folder's marker.
                        yield ObjectInfo(key, item.get("Size", 0), version)
        except s3_errors.ERRORS as error:
            raise self.explain(error, "list", prefix) from error

    def exists(self, key: str) -> bool:
        """See `Backend.exists`."""
        key = key.rstrip("/")
        # A key sorts before every other key that it is the beginning of.
        first = next(self.walk(key), None)
        if first is not None and first.path == key:
            return True
        return next(self.walk(f"{key}/" if key else ""), None) is not None

    def fetch(self, key: str, file: BinaryIO, version: str | None) -> bool:
        """See `Backend.fetch`."""
        try:
            return Fetch(self.client, self.name, key, self.uri(key)).into(file, version)
        except s3_errors.ERRORS as error:
            raise self.explain(error, "read", key) from error

    def local(self, key: str, version: str | None) -> LocalCopy:
        """See `Backend.local`; the copy has no name, so that nothing is left of a killed process."""
        folder = tempfile.gettempdir()
        with ExitStack() as opened:
            try:
                file = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                verified = self.fetch(key, file, version)
            except FileNotFoundError:
                raise
            except OSError as error:
                what = f"a copy of {self.uri(key)} in {folder} (TMPDIR)"
                raise Folder().explain(error, "write", what) from error
            close = opened.pop_all().close
        return LocalCopy(f"/proc/self/fd/{file.fileno()}", verified, close)

    def write(self, key: str, data: bytes | memoryview) -> None:
        """See `Backend.write`."""
        try:
            # In parts when it is large; the object appears when the last part is there.
            self.client.upload_fileobj(BytesIO(data), self.name, key)
        except s3_errors.ERRORS as error:
            raise self.explain(error, "write", key) from error

    def write_new(self, key: str, data: bytes | memoryview) -> bool:
        """See `Backend.write_new`; a server that does not know the condition overwrites, as `write` does."""
        try:
            self.client.put_object(Bucket=self.name, Key=key, Body=bytes(data), IfNoneMatch="*")
        except s3_errors.ERRORS as error:
            if s3_errors.code_of(error) in EXISTS:
                return False
            raise self.explain(error, "write", key) from error
        return True

    def write_file(self, key: str, local: str) -> None:
        """See `Backend.write_file`."""
        try:
            self.client.upload_file(local, self.name, key)
        except s3_errors.ERRORS as error:
            raise self.explain(error, "write", key) from error

    def delete(self, key: str) -> None:
        """See `Backend.delete`."""
        keys = [key, *(item.path for item in self.walk(f"{key}/"))]
        try:
            for first in range(0, len(keys), 1000):
                objects = [{"Key": key} for key in keys[first : first + 1000]]
                reply = self.client.delete_objects(
                    Bucket=self.name, Delete={"Objects": objects, "Quiet": True}
                )
                for failure in reply.get("Errors", []):
                    code = {"Code": failure.get("Code", ""), "Message": ""}
                    raise ClientError({"Error": code}, "DeleteObjects")
        except s3_errors.ERRORS as error:
            raise self.explain(error, "delete", key) from error

    def denied(self, access: Access, key: str) -> list[str]:
        """See `Backend.denied`; fails within seconds where nothing answers."""
        self._reach()
        missing = []
        for action, doing, place, request in self._probes(access, key):
            try:
                request()
            except s3_errors.ERRORS as error:
                code = s3_errors.code_of(error)
                if code in s3_errors.DENIED:
                    missing.append(f"s3:{action} on {self.uri(place)}")
                elif code not in NOT_DENIED:
                    raise self.explain(error, doing, key) from error
        return list(dict.fromkeys(missing))

    def _reach(self) -> None:
        """Ask once, to find out soon whether anything answers; whatever it is is good."""
        if self._reached:
            return
        impatient = self._client(FIRST_ATTEMPTS, CONNECT_SECONDS)
        try:
            impatient.list_objects_v2(Bucket=self.name, MaxKeys=1)
        except ClientError:
            pass
        except s3_errors.ERRORS as error:
            raise self.explain(error, "list", "", impatient) from error
        self._reached = True

    def _probes(
        self, access: Access, key: str
    ) -> Iterator[tuple[str, str, str, Callable[[], object]]]:
        """Requests that need each permission: action, what is done, to which key, the request."""
        client, bucket = self.client, self.name
        if access == "list":
            list_one = partial(client.list_objects_v2, Bucket=bucket, Prefix=key, MaxKeys=1)
            yield "ListBucket", "list", key, list_one
            return
        if access == "read":
            read_one = partial(client.get_object, Bucket=bucket, Key=key, Range="bytes=0-0")
            yield "GetObject", "read", key, read_one
            return
        if access == "write":
            # Arrow asks whether there is a bucket before Ray Train writes a checkpoint.
            yield "ListBucket", "list", "", partial(client.head_bucket, Bucket=bucket)
        # One key only, so that at most one object is left where deleting is denied.
        probe = f"{key}/{PROBE}" if key else PROBE
        at = {"Bucket": bucket, "Key": probe}
        yield "PutObject", "write", probe, partial(client.put_object, **at, Body=b"writable?")
        yield "GetObject", "read", probe, partial(client.get_object, **at)
        abort = partial(client.abort_multipart_upload, **at)
        yield "AbortMultipartUpload", "write", probe, partial(abort, UploadId="none")
        delete = partial(client.delete_object, **at)
        if access == "write":
            yield "DeleteObject", "delete", probe, delete
        else:
            with suppress(ClientError):  # The probe stays where it may not be deleted.
                delete()

    def explain(
        self, error: Exception, doing: str, key: str, client: S3Client | None = None
    ) -> Exception:
        """See `Backend.explain`."""
        place = f" at {self.endpoint}" if self.endpoint else ""
        where = s3_errors.Where(self.uri(key), self.name, place, doing)
        return s3_errors.explain(error, where, lambda: self._buckets(client or self.client))

    def _buckets(self, client: S3Client) -> list[str]:
        try:
            return [item.get("Name", "") for item in client.list_buckets().get("Buckets", [])]
        except s3_errors.ERRORS:
            return []

    def _client(self, attempts: int, seconds: int) -> S3Client:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=seconds,
            max_pool_connections=CONNECTIONS,
            # As Arrow does: a server of one's own seldom has a name for every bucket.
            s3={"addressing_style": "path" if self.endpoint else "auto"},
        )
        region = self.region or ("us-east-1" if self.endpoint else None)
        # A session of its own: boto3's shared one keeps the first credentials that it found.
        session = boto3.Session(region_name=region)
        return session.client("s3", endpoint_url=self.endpoint, config=config)
