"""The question before a step that spends time or money: approve, change, or refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar

import yaml
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Markdown, Static, TextArea

from agent.events import ApprovalNeeded
from agent.foreseen import impossible
from agent.tui.bugs import bug_line
from agent.tui.messages import Typed
from tools.base import FinetuneError


@dataclass(frozen=True)
class Answered:
    """What the user decided."""

    approve: bool
    edited: dict[str, Any] | None = None


Edit = Callable[[ApprovalNeeded, str], tuple[dict[str, Any], str]]
"""(the step, its arguments as YAML) -> (arguments, command); raises UsageError"""
Plan = Callable[[str, dict[str, Any]], Awaitable[str]]
"""(tool, arguments) -> what that call would do, as Markdown"""
PLANNING = "*Planning the changed step …*"
QUIET_SECONDS = 0.7
"""without a key: before, a letter belongs to what was being typed when the question came"""
ANSWERS = ("y", "n", "e", "enter")
WENT_ON = "You were typing, so that key was taken for no answer. Press it again to answer."


class Approval(ModalScreen[Answered]):
    """Shows plan and command; its result is what the user decided."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Approve"),
        Binding("e", "edit", "Edit"),
        Binding("n", "answer(False)", "Refuse"),
        Binding("escape", "back", "Refuse", show=False),
        Binding("ctrl+s", "take", "Take the change", show=False),
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "move(-8)", "Page up", show=False),
        Binding("pagedown", "move(8)", "Page down", show=False),
    ]

    def __init__(self, asked: ApprovalNeeded, edit: Edit | None = None, plan: Plan | None = None) -> None:
        super().__init__()
        self.asked = asked
        self.edit = edit
        self.plan = plan
        self.edited: dict[str, Any] | None = None
        self.planned = True
        """whether the plan that stands there is that of what would be done"""
        self.editing = False
        self.last_key = monotonic()
        """when the question came, or the last key that was no answer; in seconds"""

    def compose(self) -> ComposeResult:
        with Vertical(id="approval"):
            yield Static(f"May I run {self.asked.tool}?", markup=False, classes="title")
            with VerticalScroll(classes="body", can_focus=False):
                yield Static(f"$ {self.asked.command}", markup=False, classes="command")
                yield Static(markup=False, classes="fault -hidden")
                yield TextArea(classes="arguments -hidden")
                yield Markdown(self.asked.description, classes="plan")
            with Horizontal(classes="buttons"):
                yield Button("Approve (y)", variant="success", id="approve")
                yield Button("Edit (e)", id="edit")
                yield Button("Refuse (n)", variant="default", id="refuse")

    def on_mount(self) -> None:
        self.query_one("#edit").display = self.edit is not None
        self.query_one("#refuse").focus()

    def on_key(self, event: events.Key) -> None:
        """A question that opens in mid-word takes no letter of the word for an answer; the prompt gets it."""
        if self.editing or not (event.is_printable or event.key == "enter"):
            return
        typing = monotonic() - self.last_key < QUIET_SECONDS
        if event.key in ANSWERS and not typing:
            return
        event.stop()
        self.last_key = monotonic()
        if event.character and event.is_printable:
            self.post_message(Typed(event.character))
        if event.key in ANSWERS and self.is_mounted:
            self.tell_fault(WENT_ON)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if not self.editing:
            self.last_key = monotonic()
            self.post_message(Typed(event.text))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "edit":
            self.action_take() if self.editing else self.action_edit()
        else:
            self.action_answer(event.button.id == "approve")

    def action_move(self, lines: int) -> None:
        """Scroll what does not fit."""
        self.query_one(".body").scroll_relative(y=lines, animate=False)

    def action_answer(self, approve: bool) -> None:
        if approve and self.query_one("#approve").disabled:
            return
        self.dismiss(Answered(approve, self.edited if approve else None))

    def action_edit(self) -> None:
        """Open the arguments; they are checked when the change is taken."""
        if self.edit is None or self.editing:
            return
        area = self.query_one(TextArea)
        area.text = yaml.safe_dump(self.edited or self.asked.args, sort_keys=False, allow_unicode=True)
        area.move_cursor(area.document.end)
        self.open_editor(True)
        area.focus()

    def action_take(self) -> None:
        """Check the change; where it is good, show the command and the plan that come of it."""
        if not self.editing or self.edit is None:
            return
        try:
            args, command = self.edit(self.asked, self.query_one(TextArea).text)
        except FinetuneError as error:
            self.tell_fault(error.line())
            return
        self.edited, self.planned = args, False
        self.query_one(".command", Static).update(f"$ {command}")
        self.open_editor(False)
        self.plan_again(args)

    @work(exclusive=True)
    async def plan_again(self, args: dict[str, Any]) -> None:
        """What is approved was planned: no key approves before the new plan stands there."""
        shown, approve = self.query_one(".plan", Markdown), self.query_one("#approve", Button)
        await shown.update(PLANNING)
        try:
            words = await self.plan(self.asked.tool, args) if self.plan else self.asked.description
        except Exception as error:
            words = bug_line(error)
        await shown.update(words)
        self.planned = impossible(words) is None
        if self.planned and not self.editing:
            approve.disabled = False
            approve.focus()

    def action_back(self) -> None:
        """Esc leaves the change, or refuses."""
        if self.editing:
            self.open_editor(False)
            self.query_one("#refuse").focus()
        else:
            self.action_answer(False)

    def open_editor(self, opened: bool) -> None:
        """The arguments in place of the plan, or the plan again."""
        self.editing = opened
        self.query_one(TextArea).set_class(not opened, "-hidden")
        self.query_one(".plan").set_class(opened, "-hidden")
        self.query_one("#edit", Button).label = "Take it (^s)" if opened else "Edit (e)"
        self.query_one("#approve", Button).disabled = opened or not self.planned
        self.tell_fault("")

    def tell_fault(self, line: str) -> None:
        fault = self.query_one(".fault", Static)
        fault.update(line)
        fault.set_class(not line, "-hidden")
        self.query_one(".body").scroll_home(animate=False)
