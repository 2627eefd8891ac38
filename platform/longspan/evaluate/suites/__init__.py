"""Standard suites: lm-evaluation-harness and published benchmarks over the user's files, on the cluster."""
