"""Raw corpora to token shards, and token shards to rows in one global order."""
