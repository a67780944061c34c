"""Fine-tuning jobs at a provider: one file for each provider, the rest knows none of them."""
