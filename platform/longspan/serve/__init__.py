"""The chat service: one Ray Serve application around vLLM."""
