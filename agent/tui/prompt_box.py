"""Where the user writes: Enter sends, Shift+Enter or Ctrl+J makes a new line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea


class PromptBox(TextArea):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send"),
        Binding("ctrl+j,shift+enter", "newline", "New line"),
    ]

    @dataclass
    class Sent(Message):
        """The user sent this."""

        text: str

    class HelpWanted(Message):
        """`?` in an empty box."""

    def __init__(self) -> None:
        super().__init__(placeholder="Ask about fine-tuning, or name a data file", compact=True)

    def action_send(self) -> None:
        text = self.text.strip()
        if text:
            self.post_message(self.Sent(text))

    def action_newline(self) -> None:
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        """Enter is handled here, in the order of the keys: a priority binding would overtake text still queued."""
        if event.key == "enter":
            self.action_send()
        elif event.character == "?" and not self.text:
            self.post_message(self.HelpWanted())
        else:
            await super()._on_key(event)
            return
        event.prevent_default()
        event.stop()
