"""Probes: tasks whose samples are generated from held-out documents and a seed, one module for each kind."""
