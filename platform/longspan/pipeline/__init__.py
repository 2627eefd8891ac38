"""Stages one after another: each resumed where it stopped, or skipped if nothing has changed."""
