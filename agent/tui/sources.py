"""Where an answer comes from: the ids on one line, which opens to show titles and addresses."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from agent.tui.fold import Fold, FoldTitle


class Sources(Fold):
    def __init__(self, sources: list[dict[str, Any]]) -> None:
        super().__init__()
        self.sources = sources

    def compose(self) -> ComposeResult:
        yield FoldTitle(markup=False)
        yield Static("\n".join(map(line, self.sources)), markup=False, classes="detail")

    def title(self) -> str:
        return "Sources: " + ", ".join(source["id"] for source in self.sources)


def line(source: dict[str, Any]) -> str:
    where = f"\n  {source['url']}" if source.get("url") else ""
    return f"[{source['id']}] {source['title']}, read {source['read_on']}{where}"
