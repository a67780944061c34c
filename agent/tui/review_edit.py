"""A row being edited: a field for each message, or the whole row as JSON."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Footer, Static, TextArea

from tools.base import printable
from tools.sample import faults


def texts_of(row: dict[str, Any]) -> list[tuple[str, str]] | None:
    """(role, text) of each message, or None where a field for each would not show all that it holds.

    Characters that a terminal would act on, or that look like another text, can be edited as JSON only.
    """
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return None
    said = [(turn.get("role"), turn.get("content")) for turn in turns]
    texts = [(role, text) for role, text in said if isinstance(role, str) and isinstance(text, str)]
    return texts if len(texts) == len(said) and all(_plain(role + text) for role, text in texts) else None


def json_of(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, indent=2)
    return text if _plain(text) else json.dumps(row, indent=2)


def _plain(text: str) -> bool:
    # a field would write other line ends than \n differently
    return printable(text) == text and len(text.split("\n")) == max(1, len((text + "x").splitlines()))


class Field(TextArea):
    """An editor of one text; knows whether it was touched."""

    def __init__(self, text: str) -> None:
        super().__init__(text, tab_behavior="focus", compact=True, highlight_cursor_line=False)
        self.original = text

    def value(self) -> str:
        return self.original if self.text == self.original else self.text


class EditRow(ModalScreen[dict[str, Any] | None]):
    """Its result is the edited row, or None where nothing was changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save"),
        Binding("f2", "switch", "Messages/JSON"),
        Binding("tab", "app.focus_next", "Next field"),
        Binding("escape", "cancel", "Cancel"),
    ]

    def __init__(self, line: int, row: dict[str, Any]) -> None:
        super().__init__()
        self.line = line
        self.row = row
        self.shown = row
        """what the fields were filled with"""
        self.as_json = texts_of(row) is None

    def compose(self) -> ComposeResult:
        with Vertical(id="edit"):
            yield Static(f"Edit line {self.line}", markup=False, classes="title")
            yield Static(markup=False, id="faults")
            yield VerticalScroll(id="fields", can_focus=False)
            yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        await self.fill(self.row)

    async def fill(self, row: dict[str, Any]) -> None:
        """Show the row in new fields and go to the first that is most likely wrong: the last reply."""
        self.shown = row
        texts = texts_of(row)
        self.as_json = self.as_json or texts is None
        said = [("the row as JSON", json_of(row))] if self.as_json or texts is None else texts
        pairs: list[list[Widget]] = [[Static(role, markup=False, classes="role"), Field(text)] for role, text in said]
        fields = self.query_one("#fields")
        fields.set_class(self.as_json, "-json")
        await fields.remove_children()
        await fields.mount_all([widget for pair in pairs for widget in pair])
        last = fields.query(Field).last()
        last.focus()
        if not self.as_json:
            last.move_cursor(last.document.end)

    def edited(self) -> dict[str, Any] | None:
        """The row as the fields have it; None where they hold no JSON object, which is then said."""
        fields = list(self.query(Field))
        if not self.as_json:
            turns = [
                {**turn, "content": field.value()} for turn, field in zip(self.shown["messages"], fields, strict=True)
            ]
            return {**self.shown, "messages": turns}
        try:
            row = json.loads(fields[0].text)
        except RecursionError:
            self.complain(["not valid JSON: nested too deeply"])
            return None
        except ValueError as wrong:
            self.complain([f"not valid JSON: {wrong}"])
            return None
        if not isinstance(row, dict):
            self.complain(['the row is not an object: write {"messages": [...]}'])
            return None
        return row

    def complain(self, reasons: list[str]) -> None:
        self.query_one("#faults", Static).update(printable("\n".join(f"✗ {reason}" for reason in reasons)))
        self.query_one("#faults").set_class(bool(reasons), "-shown")

    def action_save(self) -> None:
        row = self.edited()
        if row is None:
            return
        wrong = faults(row)
        self.complain([f"{problem.message}. {problem.fix}" for problem in wrong])
        if not wrong:
            self.dismiss(row if row != self.row else None)

    async def action_switch(self) -> None:
        """From messages to JSON and back; what was typed goes along."""
        row = self.edited()
        if row is None:
            return
        self.complain([])
        if self.as_json and texts_of(row) is None:
            self.complain(["this row can be edited as JSON only: not every message is plain text"])
            return
        self.as_json = not self.as_json
        await self.fill(row)

    def action_cancel(self) -> None:
        self.dismiss(None)
