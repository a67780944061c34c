"""What the advice rests on: cards in prose, dated facts, and the sources of both."""
