"""Task files of lm-evaluation-harness (YAML) and the functions that they name."""
