"""The conversation: session, graph, offline advisor, command line, TUI."""
