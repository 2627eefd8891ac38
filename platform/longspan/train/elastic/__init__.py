"""Worker groups that grow and shrink: the scaling policy, process groups, and the work that a restart repeats."""
