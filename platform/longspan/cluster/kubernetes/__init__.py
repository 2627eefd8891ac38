"""The same cluster on Kubernetes: what KubeRay reads, from the same settings."""
