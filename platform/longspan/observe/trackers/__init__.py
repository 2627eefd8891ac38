"""Trackers that a recipe selects: TensorBoard, Weights & Biases, MLflow, trackio, and those of extensions."""
