"""Everything between a socket and an engine: API keys, limits, the paths that are served, errors, the access log."""
