"""A conversation with the advisor: the one core that the chat window and `finetune ask` both use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import chats
from agent.command import command_line
from agent.events import Again, ApprovalNeeded, Event, TextDelta, ToolFinished, ToolStarted, Turn, TurnDone
from agent.importing import quick_imports
from agent.prompt import excerpt, split_data, with_data
from agent.settings import OFFLINE, TIMEOUT
from tools.base import ServiceError, Tool, UsageError, argument_faults

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langgraph.graph.state import CompiledStateGraph

__all__ = [
    "Again",
    "ApprovalNeeded",
    "Event",
    "Session",
    "TextDelta",
    "ToolFinished",
    "ToolStarted",
    "Turn",
    "TurnDone",
]

STEPS_PER_TURN = 60
"""graph steps before a model that only calls tools is stopped"""
REFUSED_BEFORE = "The user refused this step in this turn already. Do not call it again; say what else can be done."
NOTHING = "I have no answer to that. Ask about one step of fine-tuning: decide, data, model, training, evaluation."


@dataclass
class Draft:
    """A turn as it comes together."""

    question: str
    intent: str
    text: str = ""
    """what the model wrote since the last tool call"""
    decision: dict[str, Any] | None = None
    diagnoses: list[dict[str, Any]] | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self.text += event.text
        elif isinstance(event, ToolStarted | Again):
            self.text = ""
        elif isinstance(event, ToolFinished):
            self.text = ""
            seconds = round(event.seconds, 3)
            self.steps.append({"tool": event.tool, "args": event.args, "ok": event.ok, "seconds": seconds})
            artifact = event.artifact or {}
            self.decision = artifact.get("decision") or self.decision
            self.diagnoses = artifact.get("diagnoses") or self.diagnoses

    def turn(self, model: str) -> Turn:
        answer = self.text.strip() or NOTHING
        sources = known_sources(answer, self.decision, self.diagnoses)
        return Turn(self.question, model, self.intent, answer, self.decision, self.diagnoses, sources, self.steps)


class Session:
    """One chat. `async with Session(...) as session`, then `send`, and `answer_approval` where a turn asks for it.

    `model` is "offline" (also None) or "provider:model"; `chat` names a chat kept in the workspace, None keeps it in
    memory only. Every generator ends with TurnDone, or with ApprovalNeeded when the user must answer first.
    They raise UserError (unknown model, no key) and ServiceError (the provider failed); the chat stays usable.
    """

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        chat: str | None = None,
        *,
        tools: Sequence[Tool[Any, Any]] | None = None,
        mind: BaseChatModel | None = None,
        timeout: float = TIMEOUT,
        key_env: str | None = None,
    ) -> None:
        self.model = model or OFFLINE
        self.base_url = base_url
        self.chat = chat
        self.mind = mind
        self.timeout, self.key_env = timeout, key_env
        self.given_tools = tools
        self.tools: dict[str, Tool[Any, Any]] = {}
        self.draft = Draft("", "other")
        self.waiting: list[ApprovalNeeded] = []
        self.decisions: list[dict[str, Any]] = []
        self.refused: set[str] = set()
        """tools that the user refused in this turn: not asked for again"""
        self.typed: list[str] = []
        """what the user wrote into approvals"""
        self.closing = AsyncExitStack()
        self.graph: CompiledStateGraph[Any, Any, Any, Any] | None = None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.closing.aclose()
        self.graph = None

    async def send(self, text: str, data: str | None = None) -> AsyncIterator[Event]:
        """One message of the user; `data` is a file that belongs to it. An open approval counts as refused."""
        from langchain_core.messages import HumanMessage

        from agent.route import route

        graph = await self.opened()
        self.draft, self.waiting, self.decisions = Draft(text, route(excerpt(text)).intent), [], []
        self.refused.clear()
        if self.chat:
            await asyncio.to_thread(chats.keep, self.chat, text, None)
        told = await self.messages()
        async for event in self.drive(graph, {"messages": [*not_run(told), HumanMessage(with_data(text, data))]}):
            yield event

    async def answer_approval(
        self, approve: bool, edited: dict[str, Any] | None = None, reason: str = ""
    ) -> AsyncIterator[Event]:
        """Answer the ApprovalNeeded that came last. `edited` replaces the arguments; a refusal may give a `reason`."""
        from langgraph.types import Command

        if not self.waiting:
            raise UsageError("No step waits for an approval", self.chat or "this chat", "Send a message first.")
        asked = self.waiting.pop(0)
        self.decisions.append(decision_on(asked, approve, edited, reason))
        if edited:
            changed = [value for key, value in edited.items() if value != asked.args.get(key)]
            self.typed += [value for value in changed if isinstance(value, str)]
        if not approve:
            self.refused.add(asked.tool)
            refused = ToolFinished(asked.id, asked.tool, asked.args, False, 0.0, "Refused by the user.", None)
            self.draft.note(refused)
            yield refused
        if self.waiting:
            yield await self.asking()
            return
        decisions, self.decisions = self.decisions, []
        async for event in self.drive(await self.opened(), Command(resume={"decisions": decisions})):
            yield event

    async def history(self) -> list[tuple[str, str]]:
        """What was said before in this chat, as ("user" | "advisor", text), oldest first."""
        if self.chat and (kept := await asyncio.to_thread(chats.read, self.chat)):
            return kept
        said = []
        for message in await self.messages():
            if message.type == "human":
                said.append(("user", split_data(message.text)[0]))
            elif message.type == "ai" and message.text.strip():
                said.append(("advisor", message.text))
        return said

    async def foreseen(self, tool: str, args: dict[str, Any]) -> str:
        """What a call would do, with its time and cost, as Markdown."""
        from agent.foreseen import foreseen
        from agent.reach import refuse_out_of_reach

        said = [message.text for message in await self.messages() if message.type == "human"]
        check = partial(refuse_out_of_reach, args, said, [Path(each) for each in self.typed])
        return await asyncio.to_thread(foreseen, self.tools[tool], args, check)

    async def situation(self) -> dict[str, Any]:
        """What the tools understood of the user's situation so far."""
        state = await (await self.opened()).aget_state(self.config)
        return {
            key: value for key, value in (state.values.get("situation") or {}).items() if value not in (None, [], {})
        }

    def edited(self, asked: ApprovalNeeded, text: str) -> tuple[dict[str, Any], str]:
        """(arguments, command) of a step whose arguments the user changed, written as YAML. Raises UsageError."""
        import yaml
        from pydantic import ValidationError

        tool = self.tools[asked.tool]
        try:
            args = yaml.safe_load(text) or {}
            if not isinstance(args, dict):
                raise UsageError("The arguments are no mapping", asked.tool, "Write lines such as `data: rows.csv`.")
            tool.args.model_validate(args)
        except yaml.YAMLError as error:
            what = " ".join(str(error).split())[:120]
            raise UsageError(f"Not YAML: {what}", asked.tool, "Write lines such as `data: rows.csv`.") from error
        except ValidationError as error:
            raise UsageError(
                argument_faults(error), asked.tool, f"It takes {', '.join(tool.args.model_fields)}."
            ) from error
        return args, command_line(tool, args)

    async def opened(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The graph, built on first use: importing langchain takes most of a second."""
        if self.graph is None:
            no_tracing()
            with quick_imports():
                from agent.graph import build, memory_of
                from agent.models import chat_model

            tools = self.given_tools if self.given_tools is not None else registered()
            self.tools = {tool.name: tool for tool in tools}
            mind = self.mind or chat_model(self.model, self.base_url, self.timeout, self.key_env)
            memory = await self.closing.enter_async_context(memory_of(self.chat))
            self.graph = build(mind, self.model, tools, memory, self.typed)
        return self.graph

    @property
    def config(self) -> Any:
        return {"configurable": {"thread_id": self.chat or "only"}, "recursion_limit": STEPS_PER_TURN}

    async def messages(self) -> list[BaseMessage]:
        state = await (await self.opened()).aget_state(self.config)
        return list(state.values.get("messages", []))

    async def drive(self, graph: CompiledStateGraph[Any, Any, Any, Any], given: Any) -> AsyncIterator[Event]:
        """Run the graph until it ends or asks, and tell what happens."""
        from langgraph.errors import GraphRecursionError

        try:
            async for mode, part in graph.astream(given, self.config, stream_mode=["messages", "custom", "updates"]):
                for event in self.events(mode, part):
                    self.draft.note(event)
                    yield event
        except GraphRecursionError as error:
            raise ServiceError(
                "The model kept calling tools without an answer", self.model, "Ask for one step, or use another model."
            ) from error
        if self.waiting and self.waiting[0].tool in self.refused:
            async for event in self.answer_approval(False, reason=REFUSED_BEFORE):
                yield event
        elif self.waiting:
            yield await self.asking()
        else:
            turn = self.draft.turn(self.model)
            if self.chat:
                await asyncio.to_thread(chats.keep, self.chat, turn.question, turn.answer)
            yield TurnDone(turn)

    async def asking(self) -> ApprovalNeeded:
        """The step that waits, with the plan of its arguments."""
        asked = self.waiting[0]
        self.waiting[0] = replace(asked, description=await self.foreseen(asked.tool, asked.args))
        return self.waiting[0]

    def events(self, mode: str, part: Any) -> list[Event]:
        """The events in one part of the graph's stream."""
        if mode == "custom":
            return [tool_event(part)]
        if mode == "updates":
            for interrupt in part.get("__interrupt__", ()):
                self.waiting = self.approvals(interrupt.value["action_requests"])
            return []
        message, about = part
        is_answer = about.get("langgraph_node") == "model" and message.type in ("ai", "AIMessageChunk")
        return [TextDelta(message.text)] if is_answer and message.text else []

    def approvals(self, requests: list[dict[str, Any]]) -> list[ApprovalNeeded]:
        return [
            ApprovalNeeded(
                f"approval-{number}",
                request["name"],
                request["args"],
                command_line(self.tools[request["name"]], request["args"]),
                self.tools[request["name"]].description,
            )
            for number, request in enumerate(requests)
        ]


def known_sources(
    answer: str, decision: dict[str, Any] | None, diagnoses: list[dict[str, Any]] | None
) -> list[dict[str, str | None]]:
    """The sources behind the turn, those cited in the answer first; an id that a model made up has none."""
    from knowledge.load import references, sources
    from knowledge.rows import cited

    ids = cited(answer) + [reason["source"] for reason in (decision or {}).get("because") or []]
    ids += [id_ for diagnosis in diagnoses or [] for id_ in diagnosis.get("sources") or []]
    return references(id_ for id_ in ids if id_ in sources())


def registered() -> Sequence[Tool[Any, Any]]:
    from tools import TOOLS

    return TOOLS


def tool_event(part: dict[str, Any]) -> Again | ToolStarted | ToolFinished:
    if "again" in part:
        return Again(part["again"])
    call, answer = part["call"], part.get("answer")
    if answer is None:
        return ToolStarted(call["id"], call["name"], call["args"])
    ok = answer.status == "success"
    return ToolFinished(call["id"], call["name"], call["args"], ok, part["seconds"], answer.text, answer.artifact)


def decision_on(asked: ApprovalNeeded, approve: bool, edited: dict[str, Any] | None, reason: str) -> dict[str, Any]:
    if not approve:
        return {"type": "reject", "message": reason} if reason else {"type": "reject"}
    if edited is None:
        return {"type": "approve"}
    return {"type": "edit", "edited_action": {"name": asked.tool, "args": edited}}


def not_run(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Answers for calls that an interrupted turn left open: a provider refuses a conversation with open calls."""
    from langchain_core.messages import AIMessage, ToolMessage

    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    calls = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    why = "Not run: the turn ended before it."
    return [
        ToolMessage(why, tool_call_id=call["id"] or "", name=call["name"], status="error")
        for call in calls
        if call["id"] not in answered
    ]


def no_tracing() -> None:
    """Nothing leaves this machine unasked: a tracing switch set for another langchain program does not count here."""
    for variable in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ.pop(variable, None)
