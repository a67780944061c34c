"""The advisor's answer, drawn as Markdown while it is written."""

from __future__ import annotations

from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownStream


class Answer(Markdown):
    """Append with `write`; call `finish` once at the end."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.stream: MarkdownStream | None = None

    async def write(self, text: str) -> None:
        if self.stream is None:
            self.stream = Markdown.get_stream(self)
        await self.stream.write(text)

    async def finish(self) -> None:
        if self.stream is not None:
            await self.stream.stop()
            self.stream = None
