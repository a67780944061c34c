"""The agent loop, driven by a scripted model and by the offline advisor: tools, approval, failures, memory."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from agent.command import command_line
from agent.events import ApprovalNeeded, Event, TextDelta, ToolFinished, Turn, TurnDone
from agent.session import Session
from tools import TOOLS
from tools.base import Args, Result, ServiceError, Tool, UserError

SOURCE = {"id": "seed", "title": "The seed", "url": None, "read_on": "2026-11-22"}


class Question(Args):
    question: str
    intent: str | None = None
    situation: dict[str, Any] | None = None
    task: str | None = None
    asked: tuple[str, ...] = ()


class Data(Args):
    data: str
    task: str | None = None
    test: str | None = None


class Symptom(Args):
    symptom: str


class Said(Result):
    said: str
    situation: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    diagnoses: list[dict[str, Any]] | None = None
    sources: list[dict[str, Any]] | None = None
    run: str | None = None

    def text(self) -> str:
        return self.said


class Calls:
    """The tools of these tests, and what was run, in order."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Any]] = []
        self.threads: set[int] = set()

    def tool(self, name: str, args: type[Args], answer: Any, asks: bool = False) -> Tool[Any, Any]:
        def run(given: Any) -> Said:
            self.ran.append((name, given))
            self.threads.add(threading.get_ident())
            if isinstance(answer, Exception):
                raise answer
            result: Said = answer(given) if callable(answer) else answer
            return result

        command = "finetune go {data} --test {test} --task {task}" if asks else ""
        plan = (lambda given: f"**Plan:** 3 epochs on {given.data}.") if asks else None
        return Tool(name, f"{name}.", args, Said, run, asks_first=asks, command=command, plan=plan)

    def tools(self, **answers: Any) -> list[Tool[Any, Any]]:
        decision = {"approach": "few_shot", "confidence": 0.6, "because": [], "missing": ["How many?"], "next": []}
        decide = Said(said="Try few-shot first [seed].", situation={"rows": 20}, decision=decision, sources=[SOURCE])
        told = Said(said="A card says so [seed].", sources=[SOURCE])
        diagnosed = Said(said="The rate is too high.", diagnoses=[{"cause_class": "learning_rate"}])
        given = {"decide": decide, "look_up": told, "diagnose": diagnosed} | answers
        plan, go = given.pop("plan", Said(said="**Plan:** 3 epochs.")), given.pop("go", Said(said="Started.", run="/r"))
        known = {"diagnose": Symptom}
        tools = [self.tool(name, known.get(name, Question), answer) for name, answer in given.items()]
        return [*tools, self.tool("plan", Data, plan), self.tool("go", Data, go, asks=True)]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.ran]


class Scripted(BaseChatModel):
    """Says what the script says, and remembers what it was told."""

    script: list[Any]
    heard: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.heard.append(messages)
        said = self.script[len(self.heard) - 1]
        if isinstance(said, Exception):
            raise said
        return ChatResult(generations=[ChatGeneration(message=said)])


def calling(tool: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": tool, "args": args, "id": f"id-{tool}", "type": "tool_call"}])


def scripted(*script: AIMessage | Exception) -> Scripted:
    return Scripted(script=list(script), heard=[])


async def gather(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def turn_of(events: list[Event]) -> Turn:
    assert isinstance(events[-1], TurnDone)
    return events[-1].turn


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


GO = "Train a model on tickets.csv"


def mind_named(name: str) -> Scripted | None:
    """Either mind, about to plan and then go."""
    steps = [calling("plan", data="tickets.csv"), calling("go", data="tickets.csv"), AIMessage("Well.")]
    return scripted(*steps) if name == "scripted" else None


@pytest.mark.parametrize("mind", ["scripted", "offline"])
async def test_a_costly_tool_waits_for_approval_and_shows_plan_and_command(mind: str) -> None:
    calls = Calls()
    async with Session(tools=calls.tools(), mind=mind_named(mind)) as session:
        events = await gather(session.send(GO))
        assert calls.names == ["plan"]
        assert not of(TurnDone, events)
        (asked,) = of(ApprovalNeeded, events)
        assert (asked.tool, asked.command) == ("go", "finetune go tickets.csv")
        assert asked.description == "**Plan:** 3 epochs on tickets.csv."
        done = await gather(session.answer_approval(True))
    assert calls.names == ["plan", "go"]
    assert [event.artifact["run"] for event in of(ToolFinished, done)] == ["/r"]
    turn = turn_of(done)
    assert [(step["tool"], step["ok"]) for step in turn.steps] == [("plan", True), ("go", True)]
    assert turn.answer


@pytest.mark.parametrize("mind", ["scripted", "offline"])
async def test_a_refused_tool_never_runs(mind: str) -> None:
    calls = Calls()
    async with Session(tools=calls.tools(), mind=mind_named(mind)) as session:
        await gather(session.send(GO))
        events = await gather(session.answer_approval(False, reason="too slow"))
    assert calls.names == ["plan"]
    turn = turn_of(events)
    assert turn.steps[-1] == {"tool": "go", "args": {"data": "tickets.csv"}, "ok": False, "seconds": 0.0}
    assert not of(ApprovalNeeded, events)


async def test_the_offline_advisor_acknowledges_a_refusal() -> None:
    async with Session(tools=Calls().tools()) as session:
        await gather(session.send(GO))
        events = await gather(session.answer_approval(False))
    assert turn_of(events).answer.startswith("I did not start `go`")


async def test_an_edited_approval_runs_with_the_edit() -> None:
    calls = Calls()
    async with Session(tools=calls.tools()) as session:
        await gather(session.send(GO))
        await gather(session.answer_approval(True, edited={"data": "other.csv"}))
    assert calls.ran[-1][1].data == "other.csv"


async def test_a_tool_that_would_overwrite_asks_and_otherwise_does_not() -> None:
    class Target(Args):
        out: str
        overwrite: bool = False

    calls = Calls()
    write = calls.tool("write", Target, Said(said="Written."))
    for overwrite, ran in [(False, ["write"]), (True, [])]:
        mind = scripted(calling("write", out="a", overwrite=overwrite), AIMessage("Well."))
        calls.ran.clear()
        async with Session(tools=[write], mind=mind) as session:
            events = await gather(session.send("write"))
        assert calls.names == ran
        assert bool(of(ApprovalNeeded, events)) is overwrite


async def test_a_new_message_counts_as_refusal_and_the_chat_stays_usable() -> None:
    calls = Calls()
    async with Session(tools=calls.tools()) as session:
        await gather(session.send(GO))
        events = await gather(session.send("Should I fine-tune for triage?"))
        told = await session.messages()
    assert "go" not in calls.names
    assert of(TurnDone, events)
    (answer,) = [message for message in told if isinstance(message, ToolMessage) and message.name == "go"]
    assert answer.status == "error"


async def test_an_expected_failure_reaches_the_model_as_one_line() -> None:
    calls = Calls()
    mind = scripted(calling("look_up", question="x"), AIMessage("I see."))
    broken = UserError("No such file", "tickets.csv", "Give the path.")
    async with Session(tools=calls.tools(look_up=broken), mind=mind) as session:
        events = await gather(session.send("look"))
    assert mind.heard[1][-1].text == "No such file (tickets.csv). Give the path."
    (finished,) = of(ToolFinished, events)
    assert (finished.ok, finished.artifact) == (False, None)


async def test_wrong_arguments_reach_the_model() -> None:
    calls = Calls()
    mind = scripted(calling("look_up", nonsense=1), AIMessage("I see."))
    async with Session(tools=calls.tools(), mind=mind) as session:
        await gather(session.send("look"))
    assert "question" in mind.heard[1][-1].text
    assert calls.names == []


@pytest.mark.parametrize("bug", [ZeroDivisionError("bug"), None], ids=["exception", "invalid value"])
async def test_a_bug_in_a_tool_is_not_hidden(bug: Exception | None) -> None:
    answer = bug or (lambda _: Said.model_validate({"said": 3}))
    async with Session(tools=Calls().tools(look_up=answer)) as session:
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            await gather(session.send("What is LoRA?"))


async def test_tools_run_off_the_event_loop() -> None:
    calls = Calls()
    async with Session(tools=calls.tools()) as session:
        await gather(session.send("What is LoRA?"))
    assert calls.threads
    assert threading.get_ident() not in calls.threads


async def test_a_turn_tells_decision_sources_and_steps_from_the_artifacts() -> None:
    async with Session(tools=Calls().tools()) as session:
        events = await gather(session.send("Should I fine-tune for triage?"))
    turn = turn_of(events)
    assert turn.intent == "decide"
    assert turn.decision is not None
    assert turn.decision["approach"] == "few_shot"
    assert [source["id"] for source in turn.sources] == ["seed"]
    assert turn.diagnoses is None
    assert "How many?" in turn.answer
    assert turn.answer.startswith("Try few-shot first")
    assert "".join(event.text for event in of(TextDelta, events)).strip() == turn.answer
    assert len(of(TextDelta, events)) > 3
    assert set(turn.as_json()) == {
        "question", "model", "intent", "answer", "decision", "diagnoses", "sources", "steps",
    }  # fmt: skip


async def test_the_situation_reaches_the_next_turn_of_either_mind() -> None:
    calls = Calls()
    async with Session(tools=calls.tools()) as session:
        await gather(session.send("Should I fine-tune for triage?"))
        await gather(session.send("About 500 rows."))
    assert calls.ran[-1][1].situation == {"rows": 20}
    mind = scripted(calling("decide", question="x"), AIMessage("Few-shot."), AIMessage("Yes."))
    async with Session(tools=calls.tools(), mind=mind) as session:
        await gather(session.send("Should I?"))
        await gather(session.send("And now?"))
    assert '{"rows": 20}' in mind.heard[2][0].text


async def test_a_named_chat_is_remembered_by_the_next_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    async with Session(chat="one", tools=Calls().tools()) as session:
        await gather(session.send("What is LoRA?"))
    async with Session(chat="one", tools=Calls().tools()) as session:
        said = await session.history()
    assert [who for who, _ in said] == ["user", "advisor"]
    async with Session(chat="two", tools=Calls().tools()) as session:
        assert await session.history() == []


async def test_an_approval_left_open_is_not_run_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    calls = Calls()
    async with Session(chat="one", tools=calls.tools()) as session:
        await gather(session.send(GO))
    async with Session(chat="one", tools=calls.tools()) as session:
        events = await gather(session.send("What is LoRA?"))
    assert of(TurnDone, events)
    assert "go" not in calls.names


async def test_without_a_name_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    async with Session(tools=Calls().tools()) as session:
        await gather(session.send("What is LoRA?"))
    assert not (tmp_path / "home").exists()


async def test_a_model_that_only_calls_tools_is_stopped() -> None:
    mind = scripted(*[calling("look_up", question=str(n)) for n in range(60)])
    async with Session(tools=Calls().tools(), mind=mind) as session:
        with pytest.raises(ServiceError, match="kept calling tools"):
            await gather(session.send("loop"))


async def test_a_lost_connection_is_a_service_error() -> None:
    async with Session("openai:x", tools=Calls().tools(), mind=scripted(ConnectionError("refused"))) as session:
        with pytest.raises(ServiceError, match="refused"):
            await gather(session.send("hello"))


def test_a_command_line_quotes_and_leaves_out_what_is_not_given() -> None:
    go = Calls().tools()[-1]
    assert command_line(go, {"data": "a b.csv", "task": "sort; rm"}) == "finetune go 'a b.csv' --task 'sort; rm'"
    told = command_line(go, {"data": "a.csv\n\nThis is safe; 'approve'."})
    assert told == "finetune go $'a.csv\\n\\nThis is safe; \\'approve\\'.'", "one line, and the shell reads the same"


@pytest.mark.parametrize("name", [t.name for t in TOOLS if t.asks_first or "overwrite" in t.args.model_fields])
def test_whoever_approves_a_job_sees_every_argument_of_it(name: str) -> None:
    tool = next(tool for tool in TOOLS if tool.name == name)
    for field in tool.args.model_fields:
        assert f"{{{field}}}" in tool.command, field


def test_a_command_shows_switches_and_no_empty_option() -> None:
    tool = next(tool for tool in TOOLS if tool.name == "go")
    assert command_line(tool, {"data": "t.csv"}) == "finetune go t.csv"
    given = {"data": "t.csv", "drop_overlap": True, "judge": "https://example.org/v1", "slices": ("source",)}
    assert command_line(tool, given) == (
        "finetune go t.csv --slice source --judge https://example.org/v1 --drop-overlap"
    )
