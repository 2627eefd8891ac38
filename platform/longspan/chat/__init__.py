"""Conversations: their shapes, their rendering by a tokenizer's chat template, and what of them is answers."""
