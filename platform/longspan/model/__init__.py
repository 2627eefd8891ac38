"""Models: position encodings, loading, attention, loss, export."""
