"""Which of the ingested documents take part, and in what shares."""
