"""The question before a step that spends time or money."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Markdown, Static

from agent.events import ApprovalNeeded


class Approval(ModalScreen[bool]):
    """Shows plan and command; its result is whether the user approved."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Approve"),
        Binding("n,escape", "answer(False)", "Refuse"),
    ]

    def __init__(self, asked: ApprovalNeeded) -> None:
        super().__init__()
        self.asked = asked

    def compose(self) -> ComposeResult:
        with Vertical(id="approval"):
            yield Static(f"May I run {self.asked.tool}?", markup=False, classes="title")
            with VerticalScroll(classes="plan"):
                yield Markdown(self.asked.description)
            yield Static(f"$ {self.asked.command}", markup=False, classes="command")
            with Horizontal(classes="buttons"):
                yield Button("Approve (y)", variant="success", id="approve")
                yield Button("Refuse (n)", variant="default", id="refuse")

    def on_mount(self) -> None:
        self.query_one("#refuse").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "approve")

    def action_answer(self, approve: bool) -> None:
        self.dismiss(approve)
