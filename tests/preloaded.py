"""Caches of transformers that every load of a model needs; the fork server of `tests.ranks` fills them once."""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

# The first call compiles a thousand regular expressions.
get_checkpoint_conversion_mapping("llama")
