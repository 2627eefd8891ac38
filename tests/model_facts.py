"""Shapes of published models, for arithmetic that is checked against published numbers."""

from longspan.model.facts import ModelFacts

LLAMA3_8B = ModelFacts(
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=14_336,
    vocab=128_256,
    window=8192,
    rope_base=500_000.0,
    tied=False,
    parameters=8_030_261_248,
    model_type="llama",
)
"""Llama 3 8B."""
