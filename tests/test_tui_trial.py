"""The screen that sets a tuned model beside its base: keys in, screen out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from test_tui import DONE, Played, app_of, say, shown
from textual.widgets import Input, Static

from agent.tui import ChatApp
from agent.tui.answer import Answer
from agent.tui.lines import Notice, UserMessage
from agent.tui.trial import NOTE, Side, TryScreen
from tools.base import ServiceError, UserError


class Pair:
    """Two models that say what they were asked."""

    def __init__(self, run: str = "r") -> None:
        self.models = ("base", run)
        self.note = "No [b]system[/b] message." if run == "bare" else ""
        self.heard: list[tuple[str, list[dict[str, Any]]]] = []
        self.gone = threading.Event()
        self.fails = False
        self.go = threading.Event()
        self.go.set()

    def ask(self, model: str, turns: Sequence[dict[str, Any]]) -> Iterator[str]:
        self.heard.append((model, [dict(turn) for turn in turns]))
        yield f"**{model}** "
        assert self.go.wait(20)
        if self.fails:
            raise ServiceError("The model does not answer", model, "Ask again.")
        yield f"hears [b]{turns[-1]['content']}[/b]"

    def close(self) -> None:
        self.gone.set()


async def settle(app: ChatApp, pilot: Any) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()
    await pilot.pause()


def texts(app: ChatApp) -> list[str]:
    return [answer.source for answer in app.screen.query(Answer)]


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_both_answer_side_by_side_and_remember_their_own_words(size: tuple[int, int]) -> None:
    pair, app = Pair(), app_of(Played(DONE))
    async with app.run_test(size=size) as pilot:
        app.push_screen(TryScreen("r", lambda run: pair))
        await settle(app, pilot)
        assert isinstance(app.focused, Input)
        for text in ("one", "two"):
            await pilot.press(*text, "enter")
            await settle(app, pilot)
        assert texts(app) == [
            "**base** hears [b]one[/b]", "**base** hears [b]two[/b]", "**r** hears [b]one[/b]", "**r** hears [b]two[/b]"
        ]  # fmt: skip
        assert [str(line.render()) for line in app.screen.query(UserMessage)] == ["one", "two"] * 2
        assert pair.heard[-1] == ("r", [
            {"role": "user", "content": "one"}, {"role": "assistant", "content": "**r** hears [b]one[/b]"},
            {"role": "user", "content": "two"},
        ])  # fmt: skip
        left, right = app.screen.query(Side)
        assert left.region.right <= right.region.x
        assert app.screen.query_one(Input).region.bottom <= size[1]
        assert NOTE in shown(app)
        await pilot.press("ctrl+n")
        await pilot.pause()
        assert texts(app) == []
        await pilot.press("escape")
        await settle(app, pilot)
        assert not isinstance(app.screen, TryScreen)
    assert pair.gone.wait(20)


async def test_a_question_waits_for_the_answers_and_a_failure_is_one_line() -> None:
    pair, app = Pair(), app_of(Played(DONE))
    pair.go.clear()
    async with app.run_test() as pilot:
        app.push_screen(TryScreen("r", lambda run: pair))
        await settle(app, pilot)
        await pilot.press("a", "enter", "b", "enter")
        assert app.screen.query_one(Input).value == "b"
        pair.fails = True
        pair.go.set()
        await settle(app, pilot)
        assert shown(app, Notice) == ["The model does not answer (base). Ask again."]
        pair.fails = False
        await pilot.press("enter")
        await settle(app, pilot)
        assert "**r** hears [b]b[/b]" in texts(app)


async def test_what_cannot_be_loaded_says_why() -> None:
    def none(run: str) -> Any:
        raise UserError("No run", run, "Name another.")

    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        await say(app, pilot, "/try")
        assert "No model was trained in this workspace yet" in shown(app, Notice)[0]
        app.push_screen(TryScreen("r", none))
        await settle(app, pilot)
        assert shown(app, Notice)[-1] == "No run (r). Name another."
        assert app.screen.query_one("#ask", Input).disabled
        await pilot.press("escape")


async def test_a_model_that_was_loaded_for_a_screen_that_is_gone_is_closed() -> None:
    pair, app, wait = Pair(), app_of(Played(DONE)), threading.Event()

    def slow(run: str) -> Pair:
        assert wait.wait(20)
        return pair

    async with app.run_test() as pilot:
        app.push_screen(TryScreen("r", slow))
        await pilot.pause()
        assert "Loading the model …" in [str(line.render()) for line in app.screen.query(Static)]
        await pilot.press("escape")
        await pilot.pause()
        wait.set()
        await settle(app, pilot)
    assert pair.gone.wait(20)


async def test_a_model_without_its_system_message_says_so_once() -> None:
    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        app.push_screen(TryScreen("bare", Pair))
        await settle(app, pilot)
        assert [told.message for told in app._notifications] == ["No [b]system[/b] message."]
        await pilot.press("x", "enter")
        await settle(app, pilot)
        assert len(app._notifications) == 1


async def test_closing_the_window_closes_the_model() -> None:
    pair, app = Pair(), app_of(Played(DONE))
    async with app.run_test() as pilot:
        app.push_screen(TryScreen("r", lambda run: pair))
        await settle(app, pilot)
    assert pair.gone.wait(20)
