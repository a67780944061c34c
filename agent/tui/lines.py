"""What is not the advisor's own words: the user's, and the window's notices."""

from __future__ import annotations

from textual.widgets import Static


class UserMessage(Static):
    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)


class Notice(Static):
    """A line of the window itself: an error, a hint."""

    def __init__(self, text: str, *, error: bool = False) -> None:
        super().__init__(text, markup=False, classes="error" if error else "")
