"""One tool call: a line with its state, which opens to show arguments and result."""

from __future__ import annotations

import json
from typing import Any

from textual.app import ComposeResult
from textual.reactive import reactive
from textual.widgets import Markdown, Static

from agent.events import ToolFinished
from agent.tui.fold import Fold, FoldTitle

MARKS = {"running": "○", "done": "●", "failed": "✗", "stopped": "–"}
SHOWN = 100
"""characters of the arguments on the closed card"""


class ToolCard(Fold):
    state: reactive[str] = reactive("running")

    def __init__(self, tool: str, args: dict[str, Any]) -> None:
        super().__init__()
        self.tool = tool
        self.args = args
        self.seconds: float | None = None

    def compose(self) -> ComposeResult:
        yield FoldTitle(markup=False)
        yield Static(json.dumps(self.args, ensure_ascii=False, indent=2), markup=False, classes="arguments detail")
        yield Markdown(classes="result detail")

    def title(self) -> str:
        took = f"  {self.seconds:.1f} s" if self.seconds is not None else ""
        return f"{MARKS[self.state]} {self.tool}{took}  {short(self.args)}"

    async def finish(self, event: ToolFinished) -> None:
        self.seconds = event.seconds
        self.state = "done" if event.ok else "failed"
        await self.query_one(".result", Markdown).update(event.text)

    def stop(self) -> None:
        if self.state == "running":
            self.state = "stopped"

    def watch_state(self, old: str, new: str) -> None:
        self.remove_class(f"-{old}")
        self.add_class(f"-{new}")
        self.draw()


def short(args: dict[str, Any]) -> str:
    """The arguments on one line."""
    text = ", ".join(f"{key}={' '.join(str(value).split())}" for key, value in args.items() if value is not None)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
