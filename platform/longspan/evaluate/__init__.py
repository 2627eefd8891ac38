"""Evaluation of long-context models: probes, losses, standard suites, and a verdict."""
