"""Longspan: long-context continual pretraining, tuning and serving on one Ray cluster."""
