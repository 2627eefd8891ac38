"""Small sources, in real shards."""

from tests.sources import plan, sources, store  # noqa: F401
