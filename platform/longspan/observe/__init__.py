"""What a person sees of a run: metrics records, TensorBoard, Ray metrics, progress, plots."""
