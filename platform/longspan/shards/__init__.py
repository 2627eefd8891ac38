"""Token shards: the stored form of tokenized documents, their manifests and loss masks."""
