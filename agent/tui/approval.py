"""The question before a step that spends time or money: approve, change, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Markdown, Static, TextArea

from agent.events import ApprovalNeeded
from tools.base import FinetuneError


@dataclass(frozen=True)
class Answered:
    """What the user decided."""

    approve: bool
    edited: dict[str, Any] | None = None


Edit = Callable[[ApprovalNeeded, str], tuple[dict[str, Any], str]]
"""(the step, its arguments as YAML) -> (arguments, command); raises UsageError"""


class Approval(ModalScreen[Answered]):
    """Shows plan and command; its result is what the user decided."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Approve"),
        Binding("e", "edit", "Edit"),
        Binding("n", "answer(False)", "Refuse"),
        Binding("escape", "back", "Refuse", show=False),
        Binding("ctrl+s", "take", "Take the change", show=False),
    ]

    def __init__(self, asked: ApprovalNeeded, edit: Edit | None = None) -> None:
        super().__init__()
        self.asked = asked
        self.edit = edit
        self.edited: dict[str, Any] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="approval"):
            yield Static(f"May I run {self.asked.tool}?", markup=False, classes="title")
            with VerticalScroll(classes="plan"):
                yield Markdown(self.asked.description)
            yield TextArea(classes="arguments -hidden")
            yield Static(markup=False, classes="fault -hidden")
            yield Static(f"$ {self.asked.command}", markup=False, classes="command")
            with Horizontal(classes="buttons"):
                yield Button("Approve (y)", variant="success", id="approve")
                yield Button("Edit (e)", id="edit")
                yield Button("Refuse (n)", variant="default", id="refuse")

    def on_mount(self) -> None:
        self.query_one("#edit").display = self.edit is not None
        self.query_one("#refuse").focus()

    @property
    def editing(self) -> bool:
        return not self.query_one(TextArea).has_class("-hidden")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "edit":
            self.action_take() if self.editing else self.action_edit()
        else:
            self.action_answer(event.button.id == "approve")

    def action_answer(self, approve: bool) -> None:
        if approve and self.editing and not self.take():
            return
        self.dismiss(Answered(approve, self.edited if approve else None))

    def action_edit(self) -> None:
        """Open the arguments; they are checked when the change is taken."""
        if self.edit is None or self.editing:
            return
        area = self.query_one(TextArea)
        area.text = yaml.safe_dump(self.edited or self.asked.args, sort_keys=False, allow_unicode=True)
        area.move_cursor(area.document.end)
        area.remove_class("-hidden")
        self.query_one(".plan").add_class("-hidden")
        self.query_one("#edit", Button).label = "Take it (^s)"
        area.focus()

    def action_take(self) -> None:
        if self.editing and self.take():
            self.close_editor()

    def action_back(self) -> None:
        """Esc leaves the change, or refuses."""
        if self.editing:
            self.close_editor()
        else:
            self.action_answer(False)

    def take(self) -> bool:
        """Check the change; whether it is good. What is wrong with it is shown."""
        fault = self.query_one(".fault", Static)
        if self.edit is None:
            return False
        try:
            self.edited, command = self.edit(self.asked, self.query_one(TextArea).text)
        except FinetuneError as error:
            fault.update(error.line())
            fault.remove_class("-hidden")
            return False
        fault.add_class("-hidden")
        self.query_one(".command", Static).update(f"$ {command}")
        return True

    def close_editor(self) -> None:
        self.query_one(TextArea).add_class("-hidden")
        self.query_one(".plan").remove_class("-hidden")
        self.query_one("#edit", Button).label = "Edit (e)"
        self.query_one("#approve").focus()
