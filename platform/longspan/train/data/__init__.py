"""Data of a run: its corpora as row sources, the snapshot taken at the first start, epochs and held-out rows."""
