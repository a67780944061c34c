"""A step that cannot be done as it is goes back to who asked for it; nobody is asked to approve it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer
from langchain_core.messages import AIMessage, ToolMessage
from test_session import Calls, calling, gather, of, scripted, turn_of
from test_tui import no_run, say, stop_nothing, titles
from textual.widgets import Button, Markdown, TextArea

from agent.ask import ask_once
from agent.events import ApprovalNeeded, ToolFinished, ToolStarted
from agent.foreseen import NOT_AS_IT_IS
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.approval import Approval
from tools import TOOLS
from tools.base import ServiceError, Tool, UserError


def planning(calls: Calls, plan: Callable[[Any], str]) -> list[Tool[Any, Any]]:
    """The tools, with `go` planned so."""
    return [replace(tool, plan=plan) if tool.name == "go" else tool for tool in calls.tools()]


def only_there(given: Any) -> str:
    if given.data != "there.csv":
        raise UserError(f"There is no file {given.data}", given.data, "Check the path.")
    return f"**Plan:** 3 epochs on {given.data}."


async def test_the_model_reads_why_and_mends_it_and_only_then_is_asked() -> None:
    calls = Calls()
    mind = scripted(calling("go", data="gone.csv"), calling("go", data="there.csv"), AIMessage("It runs."))
    async with Session(tools=planning(calls, only_there), mind=mind) as session:
        events = await gather(session.send("train"))
        (failed,) = of(ToolFinished, events)
        assert (failed.ok, failed.text) == (False, "There is no file gone.csv (gone.csv). Check the path.")
        assert [event.id for event in of(ToolStarted, events)] == [failed.id]
        assert mind.heard[1][-1].text == failed.text
        (asked,) = of(ApprovalNeeded, events)
        assert asked.description == "**Plan:** 3 epochs on there.csv."
        assert calls.names == []
        await gather(session.answer_approval(True))
    assert [given.data for _, given in calls.ran] == ["there.csv"]


async def test_of_two_steps_the_possible_one_is_asked_for_and_the_other_never_runs() -> None:
    calls = Calls()
    both = AIMessage(
        "",
        tool_calls=[
            {"name": "go", "args": {"data": data}, "id": data, "type": "tool_call"}
            for data in ("gone.csv", "there.csv")
        ],
    )
    async with Session(tools=planning(calls, only_there), mind=scripted(both, AIMessage("Well."))) as session:
        events = await gather(session.send("train"))
        assert [asked.args for asked in of(ApprovalNeeded, events)] == [{"data": "there.csv"}]
        turn_of(await gather(session.answer_approval(True)))
        results = {m.tool_call_id: m.status for m in await session.messages() if isinstance(m, ToolMessage)}
    assert [given.data for _, given in calls.ran] == ["there.csv"]
    assert results == {"gone.csv": "error", "there.csv": "success"}


@pytest.mark.parametrize("name", ["nonsense", "out of reach", "service"])
async def test_wrong_options_and_files_out_of_reach_are_not_asked_for(name: str) -> None:
    def down(given: Any) -> str:
        raise ServiceError("The hub did not answer", "hub", "Try again.")

    calls = Calls()
    args = {"data": "/root/.ssh/id_rsa"} if name == "out of reach" else {"data": "t.csv"}
    mind = scripted(calling("go", **args, **({"nonsense": 1} if name == "nonsense" else {})), AIMessage("I see."))
    tools = planning(calls, down) if name == "service" else calls.tools()
    async with Session(tools=tools, mind=mind) as session:
        events = await gather(session.send("train"))
    assert turn_of(events).answer == "I see."
    assert {"nonsense": "nonsense", "out of reach": "out of reach", "service": "did not answer"}[name] in (
        of(ToolFinished, events)[0].text
    )
    assert calls.ran == []


async def test_a_fault_of_the_plan_alone_does_not_block_the_step() -> None:
    def buggy(given: Any) -> str:
        raise ZeroDivisionError("by zero")

    calls = Calls()
    mind = scripted(calling("go", data="t.csv"), AIMessage("It runs."))
    async with Session(tools=planning(calls, buggy), mind=mind) as session:
        (asked,) = of(ApprovalNeeded, await gather(session.send("train")))
        assert "by zero" in asked.description
        assert not asked.description.startswith(NOT_AS_IT_IS)
        await gather(session.answer_approval(True))
    assert calls.names == ["go"]


async def test_ask_tells_the_fault_and_offers_no_approval() -> None:
    mind = scripted(calling("go", data="gone.csv"), AIMessage("There is no such file."))
    turn = await ask_once("train", mind=mind, tools=planning(Calls(), only_there))
    assert turn.answer == "There is no such file."
    assert [(step["tool"], step["ok"]) for step in turn.steps] == [("go", False)]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "Nothing to train on"),
        ({"resume": "nope"}, 'No run "nope"'),
        ({"resume": "nope", "method": "dora"}, "Name only the run"),
    ],
)
async def test_a_training_that_cannot_be_is_refused_as_the_command_does(args: dict[str, Any], says: str) -> None:
    train = [tool for tool in TOOLS if tool.name == "train"]
    mind = scripted(calling("train", **args), AIMessage("I see."))
    async with Session(tools=train, mind=mind) as session:
        events = await gather(session.send("train"))
    assert says in of(ToolFinished, events)[0].text


async def test_the_window_opens_no_question_for_it() -> None:
    mind = scripted(calling("go", data="gone.csv"), AIMessage("There is no such file."))
    app = ChatApp(Session(tools=planning(Calls(), only_there), mind=mind), no_run, stop_nothing)
    async with app.run_test() as pilot:
        await say(app, pilot, "train")
        assert not isinstance(app.screen, Approval)
        assert "✗ go" in titles(app)[0]


async def test_a_change_whose_plan_cannot_be_made_says_why_and_is_not_approved() -> None:
    mind = scripted(calling("go", data="there.csv"), AIMessage("Done."))
    app = ChatApp(Session(tools=planning(Calls(), only_there), mind=mind), no_run, stop_nothing)
    async with app.run_test(size=(100, 40)) as pilot:
        await say(app, pilot, "train")
        screen = app.screen
        assert isinstance(screen, Approval)
        screen.action_edit()
        screen.query_one(TextArea).text = "data: gone.csv"
        await pilot.press("ctrl+s")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "There is no file gone.csv" in screen.query_one(".plan", Markdown).source
        assert screen.query_one("#approve", Button).disabled
        screen.action_answer(True)
        await pilot.pause()
        assert app.screen is screen


async def test_the_plan_of_a_change_reads_what_the_user_named_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.csv"
    outside.touch()
    mind = scripted(calling("go", data="there.csv"), AIMessage("Done."))
    async with Session(tools=Calls().tools(), mind=mind) as session:
        (asked,) = of(ApprovalNeeded, await gather(session.send("train")))
        assert (await session.foreseen("go", {"data": str(outside)})).startswith(NOT_AS_IT_IS), "nobody named it"
        args, _ = session.edited(asked, f"data: {outside}")
        assert await session.foreseen("go", args) == f"**Plan:** 3 epochs on {outside}."


@pytest.mark.parametrize("option", ["--model", "--base-url", "--key-env", "--chat"])
def test_options_before_a_command_are_not_dropped_in_silence(
    finetune: Callable[..., Answer], option: str, tmp_path: Path
) -> None:
    answer = finetune(option, "openai:x", "ask", "What is LoRA?")
    assert answer.code == 2
    assert f"{option} before ask" in answer.err
    assert "Write it after ask" in answer.err
