"""The validated description of a run: schema, loading, derived values, checks and the printed plan."""
