"""Pairwise preference: which of two models answered a prompt better, by people's or a judge's votes."""
