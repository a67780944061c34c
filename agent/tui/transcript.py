"""The conversation: messages, answers and tool cards, newest at the bottom."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from textual.containers import VerticalScroll
from textual.widget import Widget

from agent.events import TextDelta, ToolFinished, ToolStarted
from agent.tui.answer import Answer
from agent.tui.lines import Earlier, Notice, UserMessage
from agent.tui.sources import Sources
from agent.tui.tool_card import ToolCard

SHOWN = 40
"""messages that are drawn at once of a chat that is resumed"""
MOST = 160
"""widgets that stay: each one costs time at every layout"""
WELCOME = """\
**Should I fine-tune for …?** Ask, and I answer with sources; give me a file, and I answer with a measurement.

- *Should I fine-tune for support ticket triage?*
- *Guide me through fine-tuning, from the start*
- *Check FILE* (a table, JSON lines, a sheet)
- *My training loss is not decreasing*
"""


def drawn(said: list[tuple[str, str]]) -> list[Widget]:
    return [UserMessage(text) if who == "user" else Answer(text) for who, text in said]


class Transcript(VerticalScroll, can_focus=False):
    """Grows at the bottom and stays there unless the user scrolls up."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Answer | None = None
        self.last_answer = ""
        self.hidden: list[tuple[str, str]] = []
        """what was said before what is shown, oldest first"""
        self.cards: dict[str, ToolCard] = {}

    def on_mount(self) -> None:
        self.anchor()

    def on_resize(self) -> None:
        """What is anchored moves without a word to its scrollbar, whose thumb would stay where it was."""
        self.vertical_scrollbar.refresh()

    def scroll_by_key(self, where: str) -> None:
        """`up` or `down` a page, or to the `top` or the `bottom`."""
        moves = {"up": self.scroll_page_up, "down": self.scroll_page_down, "top": self.scroll_home}
        moves.get(where, self.scroll_end)(animate=False)

    async def welcome(self) -> None:
        await self.mount(Answer(WELCOME))

    async def recall(self, said: list[tuple[str, str]]) -> None:
        """Show what was said last in this chat; what came before stays within reach."""
        self.hidden, shown = said[:-SHOWN], said[-SHOWN:]
        self.last_answer = next((text for who, text in reversed(said) if who == "advisor"), "")
        earlier = [Earlier(len(self.hidden))] if self.hidden else []
        await self.mount_all([*earlier, *drawn(shown)], before=0 if self.children else None)
        self.anchor()

    async def on_earlier_wanted(self, message: Earlier.Wanted) -> None:
        """The part before what is shown, above it."""
        message.stop()
        self.hidden, more = self.hidden[:-SHOWN], self.hidden[-SHOWN:]
        first = self.query_one(Earlier)
        first.left = len(self.hidden)
        await self.mount_all(drawn(more), after=first)
        if not self.hidden:
            await first.remove()

    async def clear(self) -> None:
        """Begin another chat."""
        self.answer, self.last_answer, self.hidden = None, "", []
        self.cards.clear()
        await self.remove_children()

    async def trim(self) -> None:
        """Keep no more widgets than a terminal moves quickly; what is taken away is kept as text."""
        extra = [child for child in self.children if not isinstance(child, Earlier)][:-MOST]
        if not extra:
            return
        for child in extra:
            if isinstance(child, UserMessage):
                self.hidden.append(("user", child.text))
            elif isinstance(child, Answer) and child.source != WELCOME:
                self.hidden.append(("advisor", child.source))
        await self.remove_children(extra)
        if not self.query(Earlier):
            await self.mount(Earlier(len(self.hidden)), before=0)
        self.query_one(Earlier).left = len(self.hidden)

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
        """At the end; an answer that is being written goes on above it."""
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
            self.last_answer = self.answer.source
            self.answer = None

    async def end_turn(self, going: Container[str] = ()) -> None:
        """Close what a turn left open; the cards of calls that go on wait for their ends."""
        await self.end_answer()
        for id_ in [id_ for id_ in self.cards if id_ not in going]:
            self.cards.pop(id_).stop()
        await self.trim()
