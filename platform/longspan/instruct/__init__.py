"""Synthetic long question answering: documents in, chat examples out, written and judged by a language model."""
