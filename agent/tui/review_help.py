"""The keys of the review."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from agent.tui.help import Help

KEYS = (
    ("k", "keep the row as it is"),
    ("d", "drop it"),
    ("e", "edit it (Ctrl+S save, F2 JSON, Esc leave)"),
    ("m", "write a note to the decision"),
    ("u", "undo the last decision"),
    ("n, →", "next row"),
    ("p, ←", "previous row"),
    ("s", "skip to the next row without a decision"),
    ("↑ ↓ Space PgUp PgDn", "scroll"),
    ("Ctrl+T", "light or dark"),
    ("q", "quit; every decision is kept"),
)
NOTE = (
    "The worst rows come first. The last ones were drawn at random from those without a finding: read them as "
    "carefully, they tell what the checks miss."
)


class ReviewHelp(Help):
    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static("\n".join(f"{key:<21}{does}" for key, does in KEYS), markup=False, classes="keys")
            yield Static(NOTE, markup=False)
