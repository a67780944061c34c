"""One row to be judged: why it is shown, what is wrong with it, and each message under its role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from tools.base import printable
from tools.sample import Decision, Item, Problem

LONGEST = 20_000
"""characters of one text that are shown; laying out more would hold the keys up"""
STATES = {None: "○ undecided", "keep": "● kept", "drop": "✗ dropped", "edit": "◆ edited"}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""role and the class that colours it; any other is drawn as a tool's"""


class Said(NamedTuple):
    """A block of the row."""

    role: str
    text: str


def blocks(row: dict[str, Any]) -> Iterator[Said]:
    """The messages, then all else that the row holds; of a row without messages each of its fields."""
    turns = row.get("messages")
    if isinstance(turns, list):
        for turn in turns:
            yield _said(turn) if isinstance(turn, dict) else Said("not a message", as_text(turn))
    for name, value in row.items():
        if name != "messages" or not isinstance(turns, list):
            yield Said(str(name), as_text(value))


def _said(turn: dict[str, Any]) -> Said:
    rest = {name: value for name, value in turn.items() if name not in ("role", "content")}
    parts = [as_text(turn.get("content"))] if turn.get("content") is not None else []
    parts += [f"{name}: {as_text(value)}" for name, value in rest.items() if value is not None]
    return Said(str(turn.get("role") or "no role"), "\n".join(parts))


def as_text(value: Any) -> str:
    """Text as it stands, and parts of text one after another; all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and _is_text(part) for part in value):
        return "".join(part["text"] for part in value)
    return json.dumps(value, ensure_ascii=False, indent=2)


def _is_text(part: dict[str, Any]) -> bool:
    return part.keys() == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)


class Finding(Static):
    """What a check says about the row."""

    def __init__(self, problem: Problem) -> None:
        mark = "✗" if problem.severity == "error" else "!"
        where = f" [{problem.field}]" if problem.field else ""
        text = f"{mark} {problem.code}{where}: {problem.message}. {problem.fix}"
        super().__init__(printable(text), markup=False, classes=f"-{problem.severity}")


class MessageBlock(Vertical):
    """A role and what it says. The text is data: nothing in it is read as markup."""

    def __init__(self, said: Said) -> None:
        super().__init__(classes=f"-{ROLES.get(said.role, 'other')}")
        self.said = said

    def compose(self) -> ComposeResult:
        text = printable(self.said.text.replace("\r\n", "\n"))
        yield Static(printable(self.said.role), markup=False, classes="role")
        yield Static(text[:LONGEST] or "(empty)", markup=False, classes="text" if text else "text -empty")
        if len(text) > LONGEST:
            yield Static(f"… {len(text) - LONGEST:,} more characters", markup=False, classes="text -empty")


class RowView(VerticalScroll, inherit_bindings=False):
    """Scrolls up and down only: left and right lead to other rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False),
        Binding("down", "scroll_down", "Down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown,space", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "Top", show=False),
        Binding("end", "scroll_end", "Bottom", show=False),
    ]

    async def show(self, item: Item, decision: Decision | None) -> None:
        """Draw this row in place of the one before."""
        row = decision.row if decision and decision.row is not None else item.row
        with self.app.batch_update():
            await self.remove_children()
            await self.mount_all([*_head(item, decision), *(MessageBlock(said) for said in blocks(row))])
        self.scroll_home(animate=False)


def _head(item: Item, decision: Decision | None) -> Iterator[Widget]:
    kind = decision.decision if decision else None
    yield Static(STATES.get(kind, ""), markup=False, classes=f"state -{kind or 'undecided'}")
    yield Static(printable(f"line {item.line} · {item.why}"), markup=False, classes="why")
    if decision and decision.note:
        yield Static(printable(f"note: {decision.note}"), markup=False, classes="note")
    yield from (Finding(problem) for problem in item.problems)
    if not item.row:
        yield Static("There is nothing to show: the row could not be read.", markup=False, classes="why")
