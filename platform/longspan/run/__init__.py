"""What every job driver does around its stage: the console, the cluster, the closing summary."""
