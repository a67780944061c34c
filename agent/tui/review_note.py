"""A line of text to go with a decision."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class Note(ModalScreen[str | None]):
    """Its result is the note, or None where it was left as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, note: str) -> None:
        super().__init__()
        self.note = note

    def compose(self) -> ComposeResult:
        with Vertical(id="note"):
            yield Static("Why? Enter keeps the note, Esc leaves it.", markup=False)
            yield Input(self.note, compact=True)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        self.dismiss(message.value.strip())
