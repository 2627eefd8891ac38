"""The chat service: what is served beside the model, and how it is kept safe."""
