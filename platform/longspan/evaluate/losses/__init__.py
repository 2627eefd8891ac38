"""Losses on held-out documents: by position, by tokens of context, on key tokens, and how they fall with context."""
