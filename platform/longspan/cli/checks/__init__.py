"""Checks of `longspan doctor`: each returns findings, a line each, with the remedy where something is wrong."""
