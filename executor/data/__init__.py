"""From a file of any shape to checked, leak-free splits of chat messages."""
