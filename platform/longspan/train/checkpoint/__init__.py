"""Checkpoints of a run: written by every rank while training goes on, committed last, read by any number of ranks."""
