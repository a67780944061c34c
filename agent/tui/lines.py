"""What is not the advisor's own words: the user's, and the window's notices."""

from __future__ import annotations

from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Button, Static


class UserMessage(Static):
    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)
        self.text = text


class Earlier(Button):
    """Above what is shown: brings back what was said before."""

    left: reactive[int] = reactive(0)

    class Wanted(Message):
        """Show the part before."""

    def __init__(self, left: int) -> None:
        super().__init__(compact=True)
        self.left = left

    def watch_left(self, left: int) -> None:
        self.label = f"▲ {left:,} earlier messages"

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Wanted())


class Notice(Static):
    """A line of the window itself: an error, a hint."""

    def __init__(self, text: str, *, error: bool = False) -> None:
        super().__init__(text, markup=False, classes="error" if error else "")
