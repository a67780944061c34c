"""A turn that is stopped: its calls go on or end, what was written is kept, and what is told of both is true."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from conftest import ROOT
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from test_session import Calls, Said, Scripted, calling, gather, of, scripted, turn_of
from test_tui import no_run, say, stop_nothing, titles

from agent import chats
from agent.events import Event, TextDelta, ToolFinished, ToolStarted
from agent.going import GOES_ON, NOT_RUN, NOTHING_CHANGED, UNKNOWN
from agent.session import Session
from agent.threads import NAME
from agent.tui import ChatApp
from agent.tui.answer import Answer
from agent.tui.run_panel import RunPanel
from tools.base import Tool, UserError


class Gate:
    """A tool's work that waits for the test, and then ends as it should."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.done = threading.Event()

    def __call__(self, given: Any) -> Said:
        self.opened.wait(30)
        self.done.set()
        return Said(said="Wrote 5 rows.", run="/r")


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def slow(gate: Gate, reads_only: bool = False) -> list[Tool[Any, Any]]:
    tool = next(tool for tool in Calls().tools(look_up=gate) if tool.name == "look_up")
    return [replace(tool, reads_only=reads_only)]


async def stop_at(events: AsyncIterator[Event], kind: type[Any]) -> None:
    """Cancel who reads the events, as Esc does, once one of this kind has come."""
    came = asyncio.Event()

    async def read() -> None:
        async for event in events:
            if isinstance(event, kind):
                came.set()

    reading = asyncio.create_task(read())
    await asyncio.wait_for(came.wait(), 20)
    await asyncio.sleep(0)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    assert reading.cancelled()


def told(session_messages: list[BaseMessage]) -> list[str]:
    return [message.text for message in session_messages if isinstance(message, ToolMessage)]


def one_call(*more: AIMessage) -> Scripted:
    return scripted(calling("look_up", question="x"), *more)


async def test_a_call_that_writes_goes_on_and_its_end_is_told_to_both(gate: Gate) -> None:
    mind = one_call(AIMessage("Well."), AIMessage("I see."))
    async with Session(tools=slow(gate), mind=mind) as session:
        await stop_at(session.send("do it"), ToolStarted)
        assert session.goes_on == {"id-look_up": "look_up"}
        await gather(session.send("and now?"))
        assert told(mind.heard[1]) == [GOES_ON], "neither that it ran nor that it did not"
        gate.opened.set()
        (ended,) = of(ToolFinished, await gather(session.late()))
        assert (ended.id, ended.ok, ended.text) == ("id-look_up", True, "Wrote 5 rows.")
        assert ended.artifact["run"] == "/r"
        assert not session.goes_on
        await gather(session.send("and now?"))
        assert told(mind.heard[2]) == ["Wrote 5 rows."], "its outcome, in the place of that"


async def test_a_call_that_ended_meanwhile_is_told_with_its_outcome(gate: Gate) -> None:
    mind = one_call(AIMessage("Well."))
    async with Session(tools=slow(gate), mind=mind) as session:
        await stop_at(session.send("do it"), ToolStarted)
        gate.opened.set()
        await gather(session.late())
        await gather(session.send("and now?"))
    assert told(mind.heard[1]) == ["Wrote 5 rows."]


async def test_a_call_that_only_reads_is_given_up(gate: Gate) -> None:
    mind = one_call(AIMessage("Well."))
    async with Session(tools=slow(gate, reads_only=True), mind=mind) as session:
        await stop_at(session.send("look"), ToolStarted)
        assert not session.goes_on
        await gather(session.send("and now?"))
    assert told(mind.heard[1]) == [NOTHING_CHANGED]


async def test_another_session_does_not_know_how_it_ended(gate: Gate) -> None:
    async with Session(tools=slow(gate), mind=one_call(), chat="one") as session:
        await stop_at(session.send("do it"), ToolStarted)
    mind = scripted(AIMessage("Well."))
    async with Session(tools=slow(gate), mind=mind, chat="one") as session:
        await gather(session.send("and now?"))
    assert told(mind.heard[0]) == [UNKNOWN]


async def test_a_step_that_was_never_approved_was_not_run() -> None:
    calls = Calls()
    async with Session(tools=calls.tools(), mind=scripted(calling("go", data="t.csv")), chat="one") as session:
        await gather(session.send("train"))
    mind = scripted(AIMessage("Well."))
    async with Session(tools=calls.tools(), mind=mind, chat="one") as session:
        await gather(session.send("and now?"))
    assert told(mind.heard[0]) == [NOT_RUN]


class Halting(Scripted):
    """Writes half an answer, and then waits for ever."""

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="Half an "))
        yield ChatGenerationChunk(message=AIMessageChunk(content="answer"))
        await asyncio.Event().wait()


async def test_what_was_written_before_a_stop_is_kept() -> None:
    async with Session(mind=Halting(script=[], heard=[]), tools=[], chat="one") as session:
        events = session.send("Why?")
        assert isinstance(await anext(events), TextDelta)
        assert chats.read("one")[-1] == ("advisor", chats.NOT_YET), "another window says no more than is known"
        await stop_at(events, TextDelta)
    assert chats.read("one") == [("user", "Why?"), ("advisor", "Half an answer\n\n*(stopped)*")]


async def test_the_window_marks_an_answer_that_was_stopped() -> None:
    app = ChatApp(Session(mind=Halting(script=[], heard=[]), tools=[]), no_run, stop_nothing)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: any("answer" in each.source for each in app.query(Answer)))
        await pilot.press("escape")
        await until(pilot, lambda: not app.busy)
        assert [each.source for each in app.query(Answer)][-1] == "Half an answer\n\n*(stopped)*"


async def until(pilot: Any, true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await pilot.pause(0.005)
    raise AssertionError("it did not come to that")


async def test_the_card_and_the_run_of_a_step_that_goes_on_come_after_escape(gate: Gate) -> None:
    app = ChatApp(Session(tools=slow(gate), mind=one_call()), no_run, stop_nothing)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: bool(titles(app)))
        await pilot.press("escape")
        await until(pilot, lambda: not app.busy)
        assert titles(app)[0].startswith("▸ ○ look_up"), "not stopped: it goes on"
        gate.opened.set()
        await until(pilot, lambda: "●" in titles(app)[0])
        await until(pilot, lambda: app.query_one(RunPanel).run == "/r")


async def test_of_two_windows_on_one_chat_one_answers_at_a_time() -> None:
    async with (
        Session(mind=Halting(script=[], heard=[]), tools=[], chat="one") as first,
        Session(mind=scripted(AIMessage("Here."), AIMessage("Here.")), tools=[], chat="one") as second,
    ):
        events = first.send("Why?")
        await anext(events)
        with pytest.raises(UserError, match="Another window is answering"):
            await gather(second.send("And I?"))
        assert [text for who, text in chats.read("one") if who == "user"] == ["Why?"]
        await stop_at(events, TextDelta)
        assert turn_of(await gather(second.send("And I?"))).answer == "Here."
        asked = [message.text for message in await first.messages() if isinstance(message, HumanMessage)]
        assert asked == ["Why?", "And I?"]


async def test_an_open_question_holds_the_chat_until_it_is_answered() -> None:
    calls = Calls()
    async with (
        Session(
            tools=calls.tools(), mind=scripted(calling("go", data="t.csv"), AIMessage("Well.")), chat="one"
        ) as first,
        Session(tools=calls.tools(), mind=scripted(AIMessage("Here.")), chat="one") as second,
    ):
        await gather(first.send("train"))
        with pytest.raises(UserError, match="Another window"):
            await gather(second.send("And I?"))
        await gather(first.answer_approval(False))
        assert turn_of(await gather(second.send("And I?"))).answer == "Here."


LEAVING = """
import asyncio, time
from agent.threads import Beside, in_thread, leave
async def main():
    asyncio.get_running_loop().set_default_executor(Beside())
    going = asyncio.create_task({work}(time.sleep, 60))
    await asyncio.sleep(0)
    going.cancel()
asyncio.run(main())
print("over")
leave(3)
"""


@pytest.mark.parametrize("work", ["in_thread", "asyncio.to_thread"])
def test_work_that_goes_on_does_not_hold_the_program_up(work: str) -> None:
    began = time.monotonic()
    program = LEAVING.format(work=work)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (3, "over\n", "")
    assert time.monotonic() - began < 20


async def test_the_windows_own_threads_do_not_hold_its_end_up(gate: Gate) -> None:
    app = ChatApp(Session(tools=[]), no_run, lambda run: str(gate(run)))
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        app.stop_run("/r")
        await pilot.pause()
        waiting = [thread for thread in threading.enumerate() if thread.name == NAME]
        assert waiting
        assert all(thread.daemon for thread in waiting)


async def test_a_locked_keyring_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, unlocked = threading.Event(), threading.Event()

    def waiting(*_: Any) -> Any:
        asked.set()
        unlocked.wait(30)
        return scripted(AIMessage("Here."))

    monkeypatch.setattr("agent.models.chat_model", waiting)
    monkeypatch.setattr("agent.models.find_spec", lambda name: name)
    session = Session("openai:m", tools=[])
    app = ChatApp(session, no_run, stop_nothing)
    async with app.run_test() as pilot:
        await until(pilot, asked.is_set)
        await until(pilot, lambda: "keyring" in str(app.query_one("#working").render()))
        await pilot.press(*"hi", "enter")
        assert app.busy, "keys are taken while it waits"
        unlocked.set()
        await until(pilot, lambda: not app.busy)
        assert [each.source for each in app.query(Answer)][-1] == "Here."
        assert "keyring" not in str(app.query_one("#working").render())
        await say(app, pilot, "/situation")
