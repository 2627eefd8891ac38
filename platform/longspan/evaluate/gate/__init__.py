"""The acceptance gate: whether a model is long-context, item by item with intervals and sources."""
