"""Where the user writes: Enter sends, Shift+Enter or Ctrl+J makes a new line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from agent.tui.suggest import suggest

SCROLL = [
    Binding(key, f"app.scroll_transcript('{where}')", f"Scroll: {where}", show=False)
    for key, where in (("pageup", "up"), ("pagedown", "down"), ("ctrl+home", "top"), ("ctrl+end", "bottom"))
]
"""the keys that move the conversation, in the prompt too: a text of a few lines needs no page keys"""


class PromptBox(TextArea):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send"),
        Binding("ctrl+j,shift+enter", "newline", "New line", show=False),
        *SCROLL,
    ]

    @dataclass
    class Sent(Message):
        """The user sent this."""

        text: str

    class HelpWanted(Message):
        """`?` in an empty box."""

    def __init__(self) -> None:
        super().__init__(placeholder="Ask about fine-tuning, name a data file, or / for commands", compact=True)
        self.said: list[str] = []
        """what was sent, oldest first: up and down bring it back"""
        self.place = 0
        self.draft = ""
        """what was being written when an earlier text was brought back"""

    def action_send(self) -> None:
        text = self.text.strip()
        if text:
            self.post_message(self.Sent(text))

    def sent(self) -> None:
        """The text was taken: keep it, and begin anew."""
        self.said.append(self.text.strip())
        self.place = len(self.said)
        self.clear()

    def update_suggestion(self) -> None:
        """How the text probably goes on, dim behind the cursor; only where the cursor is at its end."""
        at_end = self.cursor_location == self.document.end
        self.suggestion = suggest(self.text) if at_end else ""

    def action_earlier(self, step: int) -> None:
        """An earlier text of this window in place of this one."""
        if 0 <= self.place + step <= len(self.said):
            if self.place == len(self.said):
                self.draft = self.text
            self.place += step
            self.text = self.said[self.place] if self.place < len(self.said) else self.draft
            self.move_cursor(self.document.end)

    def at_edge(self, key: str) -> bool:
        """Whether the key would leave the text: up in its first row on the screen, down in its last."""
        rows, place = self.navigator, self.cursor_location
        return (key == "up" and rows.is_first_wrapped_line(place)) or (
            key == "down" and rows.is_last_wrapped_line(place)
        )

    def take(self, text: str) -> None:
        """Go on with what was typed while something else had the keys."""
        self.focus()
        if text == "?" and not self.text:
            self.post_message(self.HelpWanted())
        else:
            self.insert(text)

    def action_newline(self) -> None:
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        """Enter is handled here, in the order of the keys: a priority binding would overtake text still queued."""
        if event.key == "enter":
            self.action_send()
        elif event.key == "tab" and self.suggestion:
            self.insert(self.suggestion)
        elif self.at_edge(event.key):
            self.action_earlier(-1 if event.key == "up" else 1)
        elif event.character == "?" and not self.text:
            self.post_message(self.HelpWanted())
        else:
            await super()._on_key(event)
            return
        event.prevent_default()
        event.stop()
