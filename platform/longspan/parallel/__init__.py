"""Sequence parallelism: the tokens of a row divided among several workers."""
