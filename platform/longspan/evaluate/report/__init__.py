"""Reports of an evaluation: one HTML page, a text for a terminal, and comparisons of two evaluations."""
