"""Sections that all recipes have: the store, and the nodes that Ray Data uses."""

from __future__ import annotations

from pydantic import Field

from longspan.config.section import Section


class Storage(Section):
    """Where corpora are read and everything is written."""

    root: str = ".longspan/store"
    """A folder, or s3://bucket/prefix. Relative paths of corpora start here."""
    endpoint: str | None = None
    """URL of an S3 server other than AWS. Unset: AWS_ENDPOINT_URL, or AWS itself."""
    region: str | None = None
    """Region of the bucket. Unset: AWS_REGION, AWS_DEFAULT_REGION or the profile's."""


class Data(Section):
    """Ray Data's work: ingest, documents and examples of self-instruct, the readers of a run's rows."""

    pool: str | None = Field(None, min_length=1)
    """Only nodes whose label `longspan.io/pool` has this value. Unset: any node; readers of rows on those of
    workers.pool."""
