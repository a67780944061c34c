"""Training, in the run process only."""
