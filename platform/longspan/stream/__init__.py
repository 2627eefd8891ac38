"""Rows to the workers, in the global order."""
