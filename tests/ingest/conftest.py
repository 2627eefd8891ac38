"""Small sources, in real shards."""

from tests.sources import store, tokenizer  # noqa: F401
