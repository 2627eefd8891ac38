"""The chat service: a model behind an OpenAI API, safe to expose."""
