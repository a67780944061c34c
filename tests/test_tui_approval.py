"""The question before a costly step: what it shows is what will be done, in any window and after any change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from test_session import Calls, calling, scripted
from test_tui import PLAN, Played, app_of, no_run, say, stop_nothing
from textual.command import CommandPalette
from textual.widgets import Button, Markdown, Static, TextArea

from agent.events import ApprovalNeeded
from agent.foreseen import NOT_AS_IT_IS, foreseen
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.approval import Approval
from agent.tui.messages import SessionEvent
from tools import TOOLS
from tools.base import UserError

LONG = "finetune go tickets.csv " + " ".join(f"--option-{number} value" for number in range(12))
ASKED = ApprovalNeeded("1", "go", {"data": "tickets.csv", "target": 0.85}, LONG, PLAN)


async def asking(pilot: Any, app: ChatApp) -> Approval:
    await say(app, pilot, "train")
    assert isinstance(app.screen, Approval)
    return app.screen


async def settle(app: ChatApp, pilot: Any) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()


async def test_after_a_change_the_plan_is_that_of_the_changed_step() -> None:
    mind = scripted(calling("go", data="tickets.csv"), AIMessage("Done."))
    app = ChatApp(Session(tools=Calls().tools(), mind=mind), no_run, stop_nothing)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await asking(pilot, app)
        assert screen.query_one(".plan", Markdown).source == "**Plan:** 3 epochs on tickets.csv."
        await pilot.press("e")
        screen.query_one(TextArea).text = "data: other.csv"
        await pilot.press("ctrl+s")
        await settle(app, pilot)
        assert screen.query_one(".plan", Markdown).source == "**Plan:** 3 epochs on other.csv."
        assert str(screen.query_one(".command", Static).render()) == "$ finetune go other.csv"


async def test_nothing_is_approved_while_the_arguments_are_open() -> None:
    session = Played(ASKED)
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await asking(pilot, app)
        await pilot.press("e")
        assert screen.query_one("#approve", Button).disabled
        screen.action_answer(True)
        await settle(app, pilot)
        assert session.answers == []


async def test_a_change_that_is_refused_leaves_the_buttons_on_a_small_screen() -> None:
    session = Session(tools=TOOLS, mind=scripted())
    app = app_of(Played(ASKED))
    async with app.run_test(size=(80, 24)) as pilot:
        await session.opened()
        await say(app, pilot, "train")
        app.screen.edit = session.edited  # type: ignore[attr-defined]
        await pilot.press("e")
        app.screen.query_one(TextArea).text = "\n".join(f"wrong_name_{number}: 1" for number in range(30))
        await pilot.press("ctrl+s")
        await pilot.pause()
        fault = app.screen.query_one(".fault", Static)
        assert "wrong_name_0" in str(fault.render())
        assert fault.region.height <= 3
        for button in app.screen.query(Button):
            assert button.region.height == 3
            assert button.region.bottom <= 23
        await pilot.press("escape")
        assert not app.screen.query_one(".fault").display
    await session.close()


async def test_the_command_stands_above_a_plan_that_scrolls() -> None:
    app = app_of(Played(ASKED))
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await asking(pilot, app)
        body = screen.query_one(".body")
        assert screen.query_one(".command").region.y == body.region.y
        await pilot.press("pagedown")
        await pilot.pause()
        assert body.scroll_y > 0
        assert screen.query_one("#approve").region.bottom <= 23


async def test_the_palette_over_an_open_question_offers_no_other_chat() -> None:
    session = Played(ASKED)
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        await asking(pilot, app)
        offered = [command.title for command in app.get_system_commands(app.screen)]
        assert not [title for title in offered if title.startswith(("New", "Chats", "Model"))]
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, CommandPalette)
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("y")
        await settle(app, pilot)
        assert session.answers == [True]


async def test_what_an_older_chat_still_says_is_not_shown_in_the_next() -> None:
    app = app_of(Played())
    async with app.run_test() as pilot:
        app.post_message(SessionEvent(ASKED, Session()))
        await settle(app, pilot)
        assert not isinstance(app.screen, Approval)


@pytest.mark.parametrize("name", ["go", "train", "compare"])
def test_a_plan_that_cannot_be_made_says_why(name: str) -> None:
    tool = next(tool for tool in TOOLS if tool.name == name)
    assert foreseen(tool, {"data": "/nowhere/x.csv"}).startswith(NOT_AS_IT_IS)
    assert "epochs" in foreseen(tool, {"data": "x.csv", "epochs": 3})

    def refuse() -> None:
        raise UserError("x.csv is out of reach", "x.csv", "Name another file.")

    told = foreseen(tool, {"data": "x.csv"}, refuse)
    assert told == f"{NOT_AS_IT_IS} x.csv is out of reach (x.csv). Name another file."


async def test_a_plan_reads_nothing_that_the_step_may_not_read() -> None:
    async with Session(tools=Calls().tools(), mind=scripted()) as session:
        await session.opened()
        told = await session.foreseen("go", {"data": "/root/.ssh/id_rsa"})
    assert told.startswith(NOT_AS_IT_IS)
    assert "out of reach" in told


def test_a_plan_tells_what_leaves_this_machine_and_what_takes_longer(table: Path, tiny_model: Path) -> None:
    go = next(tool for tool in TOOLS if tool.name == "go")
    plain = {"data": str(table), "base_model": str(tiny_model)}
    assert "costs nothing but this machine's time" in foreseen(go, plain)
    asked = {
        "endpoint": "https://example.invalid/v1", "model": "m", "key_env": "none", "harness": ["arc_easy"],
        "judge": "https://judge.invalid/v1", "judge_model": "j", "judge_key_env": "none", "learning_curve": True,
    }  # fmt: skip
    told = foreseen(go, {**plain, **asked})
    for words in ("sent to example.invalid** (m)", "sent to judge.invalid** (j, the judge)", "arc_easy", "75 % more"):
        assert words in told
    assert "costs nothing" not in told
    assert foreseen(go, {**plain, "processes": 64}).startswith(NOT_AS_IT_IS)
    here = foreseen(go, {**plain, "endpoint": "http://127.0.0.1:9/v1", "model": "m"})
    assert "sent to" not in here
    evaluate = next(tool for tool in TOOLS if tool.name == "evaluate")
    there = {"data": str(table), "endpoint": "https://example.invalid/v1", "model": "m", "key_env": "none"}
    assert "sent to example.invalid** (m)" in foreseen(evaluate, there)
    assert foreseen(evaluate, {**there, "data": "gone.csv"}).startswith(NOT_AS_IT_IS)
