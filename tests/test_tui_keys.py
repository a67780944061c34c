"""Where keys go: a question takes no letter of a word, the prompt loses none, and what is long can be scrolled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from test_tui import DONE, Played, answers, app_of, finished, say, started
from test_tui_approval import ASKED, settle
from textual import events
from textual.widgets import Button, Markdown, Static

from agent.events import Event, TextDelta
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.approval import PLANNING, QUIET_SECONDS, WENT_ON, Approval
from agent.tui.help import KEYS
from agent.tui.lines import Notice
from agent.tui.prompt_box import PromptBox
from agent.tui.sources import Sources
from agent.tui.tool_card import ToolCard
from agent.tui.transcript import Transcript

LONG = "\n\n".join(f"Line {number}." for number in range(60))


class Clock:
    """Time as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("agent.tui.approval.monotonic", lambda: self.now)


async def ask_in_mid_word(app: ChatApp, pilot: Any, begun: str) -> Approval:
    """The question comes while `begun` stands in the prompt."""
    await app.workers.wait_for_complete()
    app.query_one(PromptBox).insert("train")
    await pilot.press("enter")
    app.query_one(PromptBox).insert(begun)
    await settle(app, pilot)
    assert isinstance(app.screen, Approval)
    return app.screen


@pytest.mark.parametrize("word", ["today", "now", "yes", "end"])
async def test_a_word_that_is_being_typed_answers_no_question(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    session = Played(ASKED)
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await ask_in_mid_word(app, pilot, "Do it ")
        for letter in word:
            await pilot.press(letter)
            clock.now += QUIET_SECONDS / 2
        await pilot.press("space", "enter")
        await settle(app, pilot)
        assert app.screen is screen
        assert not screen.editing
        assert session.answers == []
        assert app.query_one(PromptBox).text == f"Do it {word} "
        assert str(screen.query_one(".fault", Static).render()) == WENT_ON
        clock.now += QUIET_SECONDS
        await pilot.press("y")
        await settle(app, pilot)
        assert session.answers == [True]
        assert app.query_one(PromptBox).text == f"Do it {word} "


async def test_a_letter_that_is_no_answer_goes_to_the_prompt_and_those_behind_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    session = Played(ASKED)
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        await ask_in_mid_word(app, pilot, "")
        clock.now += 60
        await pilot.press("d", "a", "y", "enter")
        app.screen.post_message(events.Paste(" and\nnight"))
        await settle(app, pilot)
        assert session.answers == []
        assert app.query_one(PromptBox).text == "day and\nnight"


async def test_nothing_is_approved_between_a_change_and_its_plan() -> None:
    planned = asyncio.Event()

    async def plan(tool: str, args: dict[str, Any]) -> str:
        await planned.wait()
        return f"**Plan:** {args['data']}"

    answered: list[Any] = []
    app = app_of(Played(DONE))
    async with app.run_test(size=(100, 40)) as pilot:
        await app.workers.wait_for_complete()
        screen = Approval(ASKED, lambda asked, text: ({"data": "other.csv"}, "finetune go other.csv"), plan)
        app.push_screen(screen, answered.append)
        await pilot.pause()
        screen.last_key -= QUIET_SECONDS
        await pilot.press("e", "ctrl+s")
        await pilot.pause()
        assert screen.query_one(".plan", Markdown).source == PLANNING
        await pilot.press("e", "escape", "y")
        await pilot.pause()
        assert app.screen is screen
        assert answered == []
        assert screen.query_one("#approve", Button).disabled
        await pilot.press("e")
        planned.set()
        await settle(app, pilot)
        assert screen.query_one("#approve", Button).disabled
        await pilot.press("escape", "y")
        await pilot.pause()
        assert [each.edited for each in answered] == [{"data": "other.csv"}]


async def test_page_keys_in_the_prompt_scroll_a_long_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(Played(TextDelta(LONG), DONE))
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "tell me all")
        transcript = app.query_one(Transcript)
        bottom = transcript.scroll_y
        assert bottom == transcript.max_scroll_y > 60
        app.query_one(PromptBox).insert("a draft")
        await pilot.press("pageup")
        await pilot.pause()
        assert bottom - 24 < transcript.scroll_y < bottom
        await pilot.press("ctrl+home")
        await pilot.pause()
        assert transcript.scroll_y == 0
        await pilot.press("pagedown")
        await pilot.pause()
        assert transcript.scroll_y > 0
        await pilot.press("ctrl+end")
        await pilot.pause()
        assert transcript.scroll_y == bottom
        assert app.query_one(PromptBox).text == "a draft"
        assert any("PgUp" in key for key, _ in KEYS)


async def test_an_answer_that_is_written_does_not_pull_down_who_scrolled_up() -> None:
    app = app_of(Played(TextDelta(LONG), DONE))
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "tell me all")
        transcript = app.query_one(Transcript)
        await pilot.press("pageup")
        await pilot.pause()
        place = transcript.scroll_y
        await transcript.write(TextDelta(LONG))
        await pilot.pause()
        assert transcript.scroll_y == place
        assert transcript.max_scroll_y > place + 60
        await say(app, pilot, "again")
        assert transcript.scroll_y == transcript.max_scroll_y


@pytest.mark.parametrize("kind", [ToolCard, Sources])
async def test_what_is_typed_on_a_card_comes_into_the_prompt(kind: type[ToolCard | Sources]) -> None:
    app = app_of(Played(started(), finished(), TextDelta("So."), DONE))
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "hello")
        box, card = app.query_one(PromptBox), app.query_one(kind)
        box.insert("Why ")
        card.focus()
        await pilot.press("space")
        assert card.opened
        await pilot.press("n", "o", "t", "?")
        assert box.text == "Why not?"
        assert box.has_focus
        card.focus()
        await pilot.press("escape")
        assert box.has_focus
        card.focus()
        await pilot.pause()
        app.post_message(events.Paste(" Now."))
        await pilot.pause()
        await pilot.pause()
        assert box.text == "Why not? Now."


class Halting(Session):
    """Writes half an answer, and the rest when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def send(self, text: str, data: str | None = None) -> AsyncIterator[Event]:
        yield TextDelta("The first half, ")
        await self.go_on.wait()
        yield TextDelta("the second half.")
        yield DONE

    async def history(self) -> list[tuple[str, str]]:
        return []


@pytest.mark.parametrize("command", ["/model", "/fly", "/situation", "/theme none"])
async def test_a_notice_cuts_no_answer_in_two(command: str) -> None:
    session = Halting()
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        await app.workers.wait_for_complete()
        app.query_one(PromptBox).insert("Why?")
        await pilot.press("enter")
        while app.query_one(Transcript).answer is None:
            await pilot.pause()
        app.query_one(PromptBox).insert(command)
        await pilot.press("enter")
        while not app.query(Notice):
            await pilot.pause()
        session.go_on.set()
        await settle(app, pilot)
        assert answers(app)[-1] == "The first half, the second half."
        await say(app, pilot, "/copy")
        assert app.clipboard == "The first half, the second half."
    await session.close()
