"""A conversation with the advisor: the one core that the chat window and `finetune ask` both use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from agent import chats
from agent.command import call_text, command_line
from agent.draft import BROKE_OFF, STOPPED, Draft, decision_on, tool_event
from agent.events import Again, ApprovalNeeded, Event, TextDelta, ToolFinished, ToolStarted, Turn, TurnDone
from agent.importing import quick_imports
from agent.prompt import excerpt, split_data, with_data
from agent.settings import OFFLINE, TIMEOUT
from agent.threads import in_thread
from tools.base import ServiceError, Tool, UsageError, argument_faults

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langgraph.graph.state import CompiledStateGraph

    from agent.going import Going

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
        self.opening = asyncio.Lock()
        self.graph: CompiledStateGraph[Any, Any, Any, Any] | None = None
        self.going: Going | None = None
        """the tool calls of this session; made with the graph"""
        self.new = True
        """nothing was sent yet: what a chat left open is an earlier session's"""
        self.held: IO[bytes] | None = None
        """the chat's file, locked while a turn runs"""

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.let_go()
        await self.closing.aclose()
        self.graph = None

    def let_go(self) -> None:
        """Other windows may answer in this chat again."""
        if self.held is not None:
            self.held.close()
            self.held = None

    async def send(self, text: str, data: str | None = None) -> AsyncIterator[Event]:
        """One message of the user; `data` is a file that belongs to it. An open approval counts as refused.

        Raises UserError where another window answers in this chat.
        """
        from langchain_core.messages import HumanMessage

        from agent.route import route

        graph = await self.opened()
        if self.chat and self.held is None:
            self.held = chats.take(self.chat)
        self.draft, self.waiting, self.decisions = Draft(text, route(excerpt(text)).intent), [], []
        self.refused.clear()
        if self.chat:
            chats.keep(self.chat, text, None)
        try:
            given = [*await self.left_open(graph), HumanMessage(with_data(text, data))]
        except BaseException as error:
            self.cut(error)
            raise
        async for event in self.drive(graph, {"messages": given}):
            yield event

    async def left_open(self, graph: CompiledStateGraph[Any, Any, Any, Any]) -> list[BaseMessage]:
        """Answers for the calls that the turn before left open."""
        state = await graph.aget_state(self.config)
        perhaps_run, self.new = self.new and "tools" in state.next, False
        return self.going.answers(state.values.get("messages", []), perhaps_run) if self.going else []

    async def late(self) -> AsyncIterator[Event]:
        """The ends of calls that go on though their turn was stopped, as they come."""
        while self.going and self.going.left:
            for event in await self.going.ended():
                yield event

    @property
    def goes_on(self) -> dict[str, str]:
        """The calls that go on though their turn was stopped: id -> tool."""
        return {each.call["id"] or "": each.call["name"] for each in self.going.left} if self.going else {}

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
            self.note_typed(asked, edited)
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
        return await in_thread(foreseen, self.tools[tool], args, check)

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
        self.note_typed(asked, args)  # its plan may read what the user names
        return args, command_line(tool, args)

    def note_typed(self, asked: ApprovalNeeded, args: dict[str, Any]) -> None:
        """Files are named by what the user wrote into an approval."""
        changed = [value for key, value in args.items() if value != asked.args.get(key)]
        self.typed += [value for value in changed if isinstance(value, str) and value not in self.typed]

    async def opened(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The graph, built on first use: importing langchain takes most of a second."""
        async with self.opening:
            if self.graph is None:
                no_tracing()
                with quick_imports():
                    from agent.going import Going
                    from agent.graph import build, memory_of
                    from agent.models import chat_model

                tools = self.given_tools if self.given_tools is not None else registered()
                self.tools = {tool.name: tool for tool in tools}
                # beside the loop: a keyring that is locked may ask the person first
                mind = self.mind
                if mind is None:
                    mind = await in_thread(chat_model, self.model, self.base_url, self.timeout, self.key_env)
                memory = await self.closing.enter_async_context(memory_of(self.chat))
                self.going = Going()
                self.graph = build(mind, self.model, tools, memory, self.typed, self.going)
        return self.graph

    @property
    def asks_keyring(self) -> bool:
        """Whether opening it would look for a key in the system's keyring, which may take its time."""
        from agent.models import wants_keyring

        return self.graph is None and self.mind is None and wants_keyring(self.model)

    @property
    def config(self) -> Any:
        return {"configurable": {"thread_id": self.chat or "only"}, "recursion_limit": STEPS_PER_TURN}

    async def messages(self) -> list[BaseMessage]:
        state = await (await self.opened()).aget_state(self.config)
        return list(state.values.get("messages", []))

    async def drive(self, graph: CompiledStateGraph[Any, Any, Any, Any], given: Any) -> AsyncIterator[Event]:
        """Run the graph until it ends or asks, and tell what happens. Whatever ends it, what was written is kept."""
        from langgraph.errors import GraphRecursionError

        try:
            async for mode, part in graph.astream(given, self.config, stream_mode=["messages", "custom", "updates"]):
                for event in self.events(mode, part):
                    self.draft.note(event)
                    yield event
            asked = await self.asking() if self.waiting and self.waiting[0].tool not in self.refused else None
        except GraphRecursionError as error:
            self.cut(error)
            raise ServiceError(
                "The model kept calling tools without an answer", self.model, "Ask for one step, or use another model."
            ) from error
        except BaseException as error:
            self.cut(error)
            raise
        if asked:
            yield asked
        elif self.waiting:
            async for event in self.answer_approval(False, reason=REFUSED_BEFORE):
                yield event
        else:
            turn = self.draft.turn(self.model)
            if self.chat:
                chats.keep(self.chat, turn.question, turn.answer)
            self.let_go()
            yield TurnDone(turn)

    def cut(self, error: BaseException) -> None:
        """Keep what was written of an answer that ends early; a provider that failed at once leaves a question open."""
        mark = STOPPED if isinstance(error, asyncio.CancelledError) else BROKE_OFF
        if self.chat and (self.draft.text.strip() or mark == STOPPED):
            chats.keep(self.chat, self.draft.question, self.draft.cut(mark))
        self.let_go()

    async def asking(self) -> ApprovalNeeded:
        """The step that waits, with the plan of its arguments."""
        asked = self.waiting[0]
        planned = self.going.plans.get(call_text(asked.tool, asked.args)) if self.going else None
        self.waiting[0] = replace(asked, description=planned or await self.foreseen(asked.tool, asked.args))
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


def registered() -> Sequence[Tool[Any, Any]]:
    from tools import TOOLS

    return TOOLS


def no_tracing() -> None:
    """Nothing leaves this machine unasked: a tracing switch set for another langchain program does not count here."""
    for variable in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ.pop(variable, None)
