"""Stages one after another: each begun where it ended, or passed over where nothing has changed."""
