"""Training: the DeepSpeed engine (no Ray in it), the loop, and the hosts it runs under."""
