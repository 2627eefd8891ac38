"""Raw objects become token shards, each once."""
