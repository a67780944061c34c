"""The agent: one `create_agent` call over the tools, with approval, memory, and the situation in its state."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

from langchain.agents import AgentState, create_agent
from langchain.agents.middleware.human_in_the_loop import HumanInTheLoopMiddleware, InterruptOnConfig
from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.config import get_stream_writer
from pydantic import ValidationError

from agent.command import call_text
from agent.compact import compact
from agent.foreseen import foreseen, impossible
from agent.going import Going, answer_to
from agent.models import broke_off, failure, holds_key, one_line
from agent.prompt import system_prompt
from agent.reach import refuse_out_of_reach
from agent.settings import OFFLINE
from agent.threads import in_thread
from tools.base import FinetuneError, Tool, UserError, chats_folder

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.runtime import Runtime
    from langgraph.types import Command

PAUSES = (0.5, 2.0)
"""seconds before an answer that broke off is asked for again; what fails before it began the client retries itself"""
BUSY_SECONDS = 10.0
"""how long a second window waits for the first to finish writing a chat"""


class AdvisorState(AgentState[Any]):
    situation: NotRequired[dict[str, Any] | None]
    """what the tools understood of the user's situation, so that no cut of the messages loses it"""


class Advisor(AgentMiddleware[AdvisorState, None, Any]):
    """Keeps the situation, writes the system message, times the tools, and names a provider's failures."""

    state_schema = AdvisorState

    def __init__(self, model: str, known: Sequence[Tool[Any, Any]], typed: list[str] | None, going: Going) -> None:
        super().__init__()
        self.model = model
        self.known = {tool.name: tool for tool in known}
        self.typed = [] if typed is None else typed
        """what the user wrote into an approval: files that are named by it"""
        self.going = going

    async def abefore_model(self, state: AdvisorState, runtime: Runtime[None]) -> dict[str, Any] | None:
        for message in reversed(state["messages"]):
            if not isinstance(message, ToolMessage):
                return None
            if isinstance(message.artifact, dict) and message.artifact.get("situation") is not None:
                return {"situation": message.artifact["situation"]}
        return None

    async def awrap_model_call(
        self, request: ModelRequest[None], handler: Callable[[ModelRequest[None]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        situation: dict[str, Any] | None = request.state.get("situation")  # type: ignore[assignment]
        told, earlier = request.messages, ""
        if self.model != OFFLINE:  # the rules read the whole conversation
            told, earlier = compact(request.messages)
        system = "\n".join(part for part in (system_prompt(situation), earlier) if part)
        asked = request.override(messages=told, system_message=SystemMessage(system))
        for pause in (*PAUSES, None):
            try:
                return await handler(asked)
            except Exception as error:
                known = failure(error, self.model)
                if known is None and not holds_key(str(error)):
                    raise
                if pause is None or not broke_off(error):
                    raise known or RuntimeError(one_line(error)) from None  # the chat's file keeps what is raised
                get_stream_writer()({"again": one_line(error)})
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def aafter_model(self, state: AdvisorState, runtime: Runtime[None]) -> dict[str, Any] | None:
        """Plan what must be asked for. What cannot be done as it is goes back to the model, and nobody is asked."""
        last = next(each for each in reversed(state["messages"]) if isinstance(each, AIMessage))
        asks = [call for call in last.tool_calls if self.must_ask(call)]
        said = [each.text for each in state["messages"] if each.type == "human"]
        answers = []
        self.going.impossible.clear()
        for call in asks:
            started = time.perf_counter()
            check = partial(refuse_out_of_reach, call["args"], said, [Path(each) for each in self.typed])
            planned = await in_thread(foreseen, self.known[call["name"]], call["args"], check)
            self.going.plans[call_text(call["name"], call["args"])] = planned
            if why := impossible(planned):
                self.going.impossible.add(call["id"] or "")
                answers.append(answer_to(call, why))
                get_stream_writer()({"call": call})
                get_stream_writer()({"call": call, "answer": answers[-1], "seconds": time.perf_counter() - started})
        return {"messages": answers} if answers else None

    def must_ask(self, call: Any) -> bool:
        return call["name"] in self.known and self.known[call["name"]].must_ask(call["args"])

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        write, call, started = get_stream_writer(), request.tool_call, time.perf_counter()
        write({"call": call})
        said = [each.text for each in request.state["messages"] if each.type == "human"]
        try:
            refuse_out_of_reach(call["args"], said, map(Path, self.typed))
            answer = await self.run(call, handler(request))
        except UserError as error:
            answer = answer_to(call, error.line())
        write({"call": call, "answer": answer, "seconds": time.perf_counter() - started})
        return answer

    async def run(self, call: Any, working: Awaitable[Any]) -> ToolMessage | Command[Any]:
        """What came of the call. A turn that is stopped stops waiting for it: what writes or starts goes on."""
        tool = self.known.get(call["name"])
        begun = self.going.begin(call, tool is None or not tool.reads_only, asyncio.ensure_future(working))
        try:
            answer: ToolMessage | Command[Any] = await asyncio.shield(begun.task)
        except asyncio.CancelledError:
            self.going.stop(begun)
            raise
        return answer


def build(
    model: BaseChatModel,
    name: str,
    tools: Sequence[Tool[Any, Any]],
    memory: BaseCheckpointSaver[Any],
    typed: list[str] | None = None,
    going: Going | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The agent graph. `name` is how the user named the model, for error messages; to `typed` come edits of theirs.

    `going` is told of every call that begins, and of the plans of those that must be approved.
    """
    going = going or Going()
    approval = HumanInTheLoopMiddleware[Any, Any, Any](
        {tool.name: asking(tool, going) for tool in tools if tool.may_ask},
        edit_notice=None,
    )
    return create_agent(
        model,
        [wrapped(tool) for tool in tools],
        middleware=[approval, Advisor(name, tools, typed, going)],  # the last one sees an answer first
        checkpointer=memory,
    )


def wrapped(tool: Tool[Any, Any]) -> BaseTool:
    """The tool as langchain sees it: text for the model, JSON beside it, an expected failure as one line of text."""

    async def call(**arguments: Any) -> tuple[str, dict[str, Any]]:
        try:
            result = await in_thread(tool.call, **arguments)
        except FinetuneError as error:
            raise ToolException(error.line()) from error
        except OSError as error:  # a name that no file can have, a folder that cannot be read
            raise ToolException(f"{tool.name}: {error.strerror or error}. Name another file.") from error
        except ValidationError as error:
            # The graph would take it for wrong arguments of the model, which were validated before: it is our bug.
            raise RuntimeError(f"{tool.name} made an invalid value") from error
        return result.text(), result.model_dump(mode="json")

    return StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=tool.args,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def asking(tool: Tool[Any, Any], going: Going) -> InterruptOnConfig:
    """Ask before every call of a costly tool, and before any that overwrites; not where `aafter_model` answered it."""

    def must_ask(request: ToolCallRequest) -> bool:
        return tool.must_ask(request.tool_call["args"]) and (request.tool_call["id"] or "") not in going.impossible

    return InterruptOnConfig(allowed_decisions=["approve", "edit", "reject"], when=must_ask)


@asynccontextmanager
async def memory_of(chat: str | None) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Where the messages are kept: in the workspace for a named chat, in this process without a name."""
    if chat is None:
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
        return
    import aiosqlite
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    file = chats_folder() / "chats.sqlite"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = await aiosqlite.connect(file, timeout=BUSY_SECONDS)
    except (OSError, sqlite3.Error) as error:
        fix = "Set FINETUNE_HOME to a folder you may write to."
        raise UserError(f"Cannot open the chats: {error}", str(file), fix) from error
    try:
        if not await whole(connection):
            await connection.close()
            file.rename(file.with_name(f"{file.stem}.damaged-{datetime.now():%Y%m%d-%H%M%S}.sqlite"))
            connection = await aiosqlite.connect(file, timeout=BUSY_SECONDS)
        await connection.execute("PRAGMA journal_mode=WAL")
        yield AsyncSqliteSaver(connection)
    except sqlite3.DatabaseError as error:
        fix = "Close other windows, or move the file away."
        raise UserError(f"Cannot use the chats: {error}", str(file), fix) from error
    finally:
        await connection.close()


async def whole(connection: Any) -> bool:
    """Whether the file is a database that can be read; a damaged one is put aside, and a new one begun."""
    try:
        async with connection.execute("PRAGMA quick_check(1)") as found:
            return bool(await found.fetchone() == ("ok",))
    except sqlite3.OperationalError:  # locked by another window: it is in use, so it is no ruin
        return True
    except sqlite3.DatabaseError:
        return False
