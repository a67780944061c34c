"""Delivering a tuned model: other forms of it, and the proof that each still answers the same."""
