"""Objects in an S3 bucket, on AWS or any server that speaks its protocol.

Reads go through Arrow, whose standard retry strategy also repeats reads that end early (boto3 does
not); everything else goes through boto3. Arrow is not used to write: its output stream commits
what it has when it is closed by an exception, so that half an object appears under its final name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from pyarrow import fs

from longspan.errors import UserError
from longspan.storage import s3_errors
from longspan.storage.objects import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 10
CONNECT_SECONDS = 10
REQUEST_SECONDS = 60
PROBE = ".longspan-probe"


class Bucket:
    """Keys are object keys in one bucket. Credentials come from the AWS chain, never from here."""

    def __init__(self, name: str, endpoint: str | None, region: str | None) -> None:
        self.name = name
        self.endpoint = endpoint
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    @cached_property
    def filesystem(self) -> fs.FileSystem:
        """Arrow's view of the server."""
        options: dict[str, Any] = {"region": self.region}
        if self.endpoint:
            url = urlsplit(self.endpoint)
            options = {
                "endpoint_override": url.netloc,
                "scheme": url.scheme,
                "region": self.region or "us-east-1",
            }
        elif not self.region:
            options = {"region": fs.resolve_s3_region(self.name)}
        return fs.S3FileSystem(
            **options,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            connect_timeout=CONNECT_SECONDS,
            request_timeout=REQUEST_SECONDS,
        )

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

    def write(self, key: str, data: bytes | memoryview) -> None:
        """See `Backend.write`."""
        try:
            # In parts when it is large; the object appears when the last part is there.
            self.client.upload_fileobj(BytesIO(data), self.name, key)
        except s3_errors.ERRORS as error:
            raise self.explain(error, "write", key) from error

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

    def check(self, key: str) -> None:
        """See `Backend.check`; fails within seconds where nothing answers."""
        client = self._client(attempts=2, seconds=CONNECT_SECONDS)
        folder = f"{key}/" if key else ""
        try:
            client.list_objects_v2(Bucket=self.name, Prefix=folder, MaxKeys=1)
            client.put_object(Bucket=self.name, Key=folder + PROBE, Body=b"writable?")
        except s3_errors.ERRORS as error:
            doing = "list" if getattr(error, "operation_name", "") != "PutObject" else "write"
            raise UserError(f"storage.root: {self.explain(error, doing, key, client)}") from error
        # Writing without deleting is enough for everything but `delete`.
        with suppress(*s3_errors.ERRORS):
            client.delete_object(Bucket=self.name, Key=folder + PROBE)

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
            # As Arrow does: a server of one's own seldom has a name for every bucket.
            s3={"addressing_style": "path" if self.endpoint else "auto"},
        )
        region = self.region or ("us-east-1" if self.endpoint else None)
        # A session of its own: boto3's shared one keeps the first credentials that it found.
        session = boto3.Session(region_name=region)
        return session.client("s3", endpoint_url=self.endpoint, config=config)
