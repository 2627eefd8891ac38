"""What every worker was given, kept with the run, and the checker that reads it."""
