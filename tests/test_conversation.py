"""The whole way in one conversation, from "should I?" to "did it help?", by a model over HTTP and by the rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_stream import Broken, Call, Hang, Say, Status, Step, thinking
from conftest import write_examples
from test_session import gather

from agent.compact import MOST, compact, size
from agent.events import Again, ApprovalNeeded, Event, TextDelta, ToolFinished, TurnDone
from agent.session import Session
from tools.base import FinetuneError, ServiceError, UserError
from tools.runs import outcome, wait

KEY = "sk-test-5d0c4b7a91"
TOLD = "Should I fine-tune for colour naming?"


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table, where the default base model is a tiny one."""
    from tools import base_model, planning

    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "things.csv")
    found = base_model.from_folder(tiny_model)
    monkeypatch.setattr(planning, "resolve_model", lambda name: found)
    return tmp_path


async def turn(session: Session, text: str, approve: bool = True) -> tuple[list[Event], str]:
    """Everything that happens after a message, approvals answered; and the answer."""
    events = await gather(session.send(text))
    while isinstance(events[-1], ApprovalNeeded):
        events += await gather(session.answer_approval(approve))
    done = events[-1]
    assert isinstance(done, TurnDone)
    return events, done.turn.answer


def wait_for_run(events: list[Event]) -> None:
    """The job that was started is a process of its own."""
    started = next(event for event in events if isinstance(event, ToolFinished) and event.tool == "go")
    outcome(last(wait(str((started.artifact or {})["run"])), str((started.artifact or {})["run"])))


def last(statuses: Iterator[Any], run: str) -> str:
    for _ in statuses:
        pass
    return run


def called(events: list[Event]) -> list[tuple[str, bool]]:
    return [(event.tool, event.ok) for event in events if isinstance(event, ToolFinished)]


async def test_the_whole_way_offline(folder: Path) -> None:
    async with Session(chat="way") as session:
        events, answer = await turn(session, TOLD)
        assert called(events) == [("decide", True)]
        assert "tell me" in answer
        _, answer = await turn(session, "800 examples, GPT gets 70 %, need 85")
        assert "200 or more examples" in answer
        _, answer = await turn(session, "no, 80 examples")
        assert "200 or more examples" not in answer, "the correction counts"
        events, answer = await turn(session, "format ./things.csv")
        assert ("data_format", True) in called(events)
        assert (folder / "things.jsonl").is_file()
        events, answer = await turn(session, "train it")
        assert called(events) == [("plan", True), ("go", True)]
        assert any(isinstance(event, ApprovalNeeded) and "things.csv" in event.command for event in events)
        wait_for_run(events)
        events, answer = await turn(session, "did it help?")
        assert called(events) == [("runs", True), ("runs", True)]
        assert "Verdict:" in answer
        assert "fine_tuned:" in answer
        events, answer = await turn(session, "export it for Ollama", approve=False)
        assert called(events) == [("runs", True), ("export", False)]
        asked = next(event for event in events if isinstance(event, ApprovalNeeded))
        assert asked.command.startswith("finetune export ")
        assert "--to ollama" in asked.command
    runs = list((folder / "home" / "runs").iterdir())
    assert len(runs) == 1
    assert (runs[0] / "adapter" / "adapter_model.safetensors").is_file()


async def test_the_whole_way_with_a_model_over_http(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    script: list[Step] = [
        Status(429, "slow down"), Status(500, "oops"),
        Call("decide", {"question": TOLD}), Say("Perhaps. How many examples do you have? [seed]"),
        Call("decide", {"question": "800 examples, GPT gets 70 %, need 85", "situation": {"examples": 800}}),
        Broken("It pays, bec"), Say("It may pay: measure first."),
        Call("data_format", {"path": "things.csv", "out": "things.jsonl"}), Say("Written."),
        Call("plan", {"data": "things.csv"}), Call("go", {"data": "things.csv"}), Say("It runs."),
        Call("runs", {"action": "show"}), Say("The verdict is in the report."),
        Say("That comes after a verdict."),
    ]  # fmt: skip
    with thinking(*script) as mind:
        async with Session("openai:m", mind.url, chat="http", key_env="OPENAI_API_KEY") as session:
            events, answer = await turn(session, TOLD)
            assert called(events) == [("decide", True)]
            assert answer.startswith("Perhaps.")
            assert sum(isinstance(event, TextDelta) for event in events) > 3, "word by word"
            events, answer = await turn(session, "800 examples, GPT gets 70 %, need 85")
            assert any(isinstance(event, Again) for event in events)
            assert answer == "It may pay: measure first.", "what broke off is not part of it"
            await turn(session, "format things.csv")
            events, answer = await turn(session, "train it")
            assert called(events) == [("plan", True), ("go", True)]
            assert answer == "It runs."
            wait_for_run(events)
            events, answer = await turn(session, "did it help?")
            assert called(events) == [("runs", True)]
            shown = next(event for event in events if isinstance(event, ToolFinished))
            assert "Verdict:" in shown.text
            await turn(session, "export it for Ollama")
    assert mind.keys == {f"Bearer {KEY}"}
    first = mind.asked[2]
    assert first["stream"] is True
    assert {tool["function"]["name"] for tool in first["tools"]} >= {"decide", "go", "runs"}
    assert first["messages"][0]["role"] == "system"
    assert '"examples": 800' in json.dumps(mind.asked[-1]["messages"][0]).replace("\\", ""), "the situation is kept"
    adapter = next((folder / "home" / "runs").iterdir()) / "adapter" / "adapter_model.safetensors"
    assert adapter.is_file()
    kept = [file for file in (folder / "home").rglob("*") if file.is_file()]
    assert not [file for file in kept if KEY.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("step", "error", "says"),
    [
        (Status(401, "bad key"), UserError, "No usable key"),
        (Status(404, "no such model"), UserError, "does not know"),
        (Status(400, "this model does not support tools"), UserError, "cannot call tools"),
        (Status(429, "You exceeded your current quota"), UserError, "quota"),
        (Status(503, "down"), ServiceError, "did not answer"),
        (Broken("half an ans"), ServiceError, "did not answer"),
        (Broken("half an ans", then=""), None, ""),
        (Hang(5.0), ServiceError, "did not answer"),
    ],
)
async def test_a_model_that_fails_is_one_clear_line_and_the_chat_goes_on(
    step: Step, error: type[FinetuneError] | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("agent.graph.PAUSES", (0.01,))
    monkeypatch.setattr("agent.models.RETRIES", 1)
    with thinking(step) as mind:
        async with Session("openai:m", mind.url, timeout=0.5, key_env="OPENAI_API_KEY") as session:
            if error is None:
                await turn(session, "hello")
            else:
                with pytest.raises(error) as caught:
                    await turn(session, "hello")
                assert says in caught.value.what
                assert KEY not in caught.value.line()
            mind.script[:] = [Say("Here I am.")]
            assert (await turn(session, "still there?"))[1] == "Here I am."


async def test_a_long_conversation_is_shortened_for_the_model_and_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("agent.graph.compact", lambda messages: compact(messages, 4000))
    with thinking(Say("word " * 100)) as mind:
        async with Session("openai:m", mind.url) as session:
            for number in range(12):
                await turn(session, f"question {number} " + "and more " * 40)
            said = await session.history()
    assert len(said) == 24
    last = mind.asked[-1]["messages"]
    assert sum(len(str(message["content"])) for message in last[1:]) <= 4000
    assert "The person: question 0" in last[0]["content"]
    assert "question 11" in last[-1]["content"]


def test_shortening_never_parts_a_call_from_its_result() -> None:
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

    turns: list[Any] = []
    for number in range(30):
        call = {"name": "look_up", "args": {}, "id": f"c{number}", "type": "tool_call"}
        turns += [HumanMessage(f"q{number}"), AIMessage("", tool_calls=[call]),
                  ToolMessage("x" * 9000, tool_call_id=f"c{number}", name="look_up"), AIMessage("a")]  # fmt: skip
    kept, earlier = compact(turns)
    assert size(kept) <= MOST + 9000
    assert 0 < earlier.count("The person:") < 30
    assert "q29" not in earlier
    calls = {call["id"] for message in kept if isinstance(message, AIMessage) for call in message.tool_calls}
    assert calls == {message.tool_call_id for message in kept if isinstance(message, ToolMessage)}
    assert isinstance(kept[0], HumanMessage)
    one = compact(turns[:4], 500)
    assert one[0][-1].text == "a"
    large = [*turns[:2], ToolMessage("y" * 70_000, tool_call_id="c0", name="look_up"), AIMessage("a")]
    assert 59_000 < size(compact(large)[0]) <= MOST + 200, "as much as fits"
    assert compact(turns[:4], 50_000) == (turns[:4], "")
