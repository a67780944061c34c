"""The only room that computes: data, runs, training, evaluation, reports."""
