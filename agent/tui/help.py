"""The keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from agent.tui.commands import COLUMN, COMMANDS

KEYS = (
    ("Enter", "send"),
    ("Shift+Enter, Ctrl+J", "new line"),
    ("Esc", "stop the answer"),
    ("PgUp, PgDn", "scroll; Ctrl+Home, Ctrl+End: to the ends"),
    ("Tab, then Enter", "open a card or the sources; Esc: back"),
    ("Ctrl+R", "show or hide the run"),
    ("F8", "stop the run; it can be resumed"),
    ("Up, Down", "what was sent before"),
    ("Tab, →", "take what is suggested"),
    ("Ctrl+O", "saved chats: search, resume"),
    ("Ctrl+P", "every command, by its words"),
    ("Ctrl+T", "light or dark"),
    ("F1, ?", "this help"),
    ("Ctrl+Q", "quit; a running job goes on"),
)
NOTE = "Training and other costly steps ask before they start. The same steps are commands: finetune --help"


def lines(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{key:<{COLUMN}}{does}" for key, does in rows)


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,question_mark", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(lines(KEYS), markup=False, classes="keys")
            yield Static(lines((each.usage, each.does) for each in COMMANDS), markup=False, classes="keys")
            yield Static(NOTE, markup=False)
