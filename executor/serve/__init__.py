"""A tuned model behind an OpenAI-compatible server, in a process of its own."""
