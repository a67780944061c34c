"""Evaluation: answers, scores, statistics, verdict."""
