"""The conversation: messages, answers and tool cards, newest at the bottom."""

from __future__ import annotations

from typing import Any

from textual.containers import VerticalScroll

from agent.events import TextDelta, ToolFinished, ToolStarted
from agent.tui.answer import Answer
from agent.tui.lines import Notice, UserMessage
from agent.tui.sources import Sources
from agent.tui.tool_card import ToolCard

WELCOME = """\
**Should I fine-tune for …?** Ask, and I answer with sources; give me a file, and I answer with a measurement.

- *Should I fine-tune for support ticket triage?*
- *Guide me through fine-tuning, from the start*
- *Check tickets.csv*
- *My training loss is not decreasing*
"""


class Transcript(VerticalScroll, can_focus=False):
    """Grows at the bottom and stays there unless the user scrolls up."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Answer | None = None
        self.cards: dict[str, ToolCard] = {}

    def on_mount(self) -> None:
        self.anchor()

    async def welcome(self) -> None:
        await self.mount(Answer(WELCOME))

    async def recall(self, said: list[tuple[str, str]]) -> None:
        """Show what was said before in this chat."""
        await self.mount_all(UserMessage(text) if who == "user" else Answer(text) for who, text in said)

    async def user_says(self, text: str) -> None:
        await self.mount(UserMessage(text))
        self.anchor()

    async def write(self, event: TextDelta) -> None:
        if self.answer is None:
            self.answer = Answer()
            await self.mount(self.answer)
        await self.answer.write(event.text)

    async def start(self, event: ToolStarted) -> None:
        await self.end_answer()
        card = self.cards[event.id] = ToolCard(event.tool, event.args)
        await self.mount(card)

    async def finish(self, event: ToolFinished) -> None:
        """Complete the card, or show a new one for a call that was refused and so never started."""
        if event.id not in self.cards:
            await self.start(ToolStarted(event.id, event.tool, event.args))
        await self.cards.pop(event.id).finish(event)

    async def notice(self, text: str, *, error: bool = False) -> None:
        await self.end_answer()
        await self.mount(Notice(text, error=error))

    async def cite(self, sources: list[dict[str, Any]]) -> None:
        await self.end_answer()
        if sources:
            await self.mount(Sources(sources))

    async def forget_answer(self) -> None:
        """Take back an answer that broke off."""
        if self.answer is not None:
            await self.answer.finish()
            await self.answer.remove()
            self.answer = None

    async def end_answer(self) -> None:
        if self.answer is not None:
            await self.answer.finish()
            self.answer = None

    async def end_turn(self) -> None:
        """Close what a turn left open."""
        await self.end_answer()
        for card in self.cards.values():
            card.stop()
        self.cards.clear()
