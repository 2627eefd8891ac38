"""The global order of rows: arithmetic only, the same for any number of workers."""
