"""Tool calls that began in a session: what came of each, also where the turn was stopped before its end.

A thread cannot be stopped. So a call that writes or starts something goes on when its turn is stopped, the window is
told of its end, and the model is told what is true of it: its outcome, that it goes on, or that nobody knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolCall

from agent.draft import finished
from agent.events import ToolFinished
from agent.models import one_line

NOT_RUN = "Not run: the turn ended before it."
UNKNOWN = "It is not known whether this was done: the turn ended before its outcome came. Look before doing it again."
GOES_ON = "The person stopped waiting for it, and it goes on: its outcome is not known yet. Do not do it again."
NOTHING_CHANGED = "The person stopped it before its end. It only reads, so nothing was changed."


@dataclass
class Begun:
    """A call that began."""

    call: ToolCall
    writes: bool
    """whether it starts or changes something"""
    task: asyncio.Future[Any]
    since: float = field(default_factory=time.perf_counter)
    left: bool = False
    """its turn was stopped, and it goes on"""
    told: bool = False
    """the window knows its end"""
    open: str = ""
    """id of the message that told the model that it goes on, until another tells how it ended"""

    @property
    def answer(self) -> ToolMessage:
        """What came of it, once its task is done."""
        error = None if self.task.cancelled() else self.task.exception()
        if error is None and not self.task.cancelled() and isinstance(self.task.result(), ToolMessage):
            return self.task.result()  # type: ignore[no-any-return]
        why = f"A bug in this program: {one_line(error)}" if isinstance(error, Exception) else UNKNOWN
        return answer_to(self.call, why)


class Going:
    """The calls of a session, by their ids, and the plans of those that must be approved."""

    def __init__(self) -> None:
        self.begun: dict[str, Begun] = {}
        self.plans: dict[str, str] = {}
        """call_text(...) -> its plan"""
        self.impossible: set[str] = set()
        """ids of the model's last calls that were answered instead of asked for: they are not run either"""

    def begin(self, call: ToolCall, writes: bool, task: asyncio.Future[Any]) -> Begun:
        begun = self.begun[call["id"] or ""] = Begun(call, writes, task)
        return begun

    def stop(self, begun: Begun) -> None:
        """Its turn was stopped: what only reads is given up."""
        begun.left = begun.writes
        if not begun.writes:
            begun.task.cancel()

    @property
    def left(self) -> list[Begun]:
        """Those that go on, or ended since, without that the window was told."""
        return [each for each in self.begun.values() if each.left and not each.told]

    async def ended(self) -> list[ToolFinished]:
        """Wait until one more of them ends."""
        await asyncio.wait([each.task for each in self.left], return_when=asyncio.FIRST_COMPLETED)
        over = [each for each in self.left if each.task.done()]
        for each in over:
            each.told = True
        return [finished(each.call, each.answer, time.perf_counter() - each.since) for each in over]

    def answers(self, messages: Sequence[BaseMessage], perhaps_run: bool) -> list[BaseMessage]:
        """Messages for the calls that a stopped turn left open: a provider refuses a conversation with open calls.

        `perhaps_run`: whether a call that this session did not begin may have been run by an earlier one.
        """
        found: list[BaseMessage] = [self.late(each) for each in self.begun.values() if each.open and each.task.done()]
        for call in open_calls(messages):
            begun = self.begun.get(call["id"] or "")
            if begun is None:
                found.append(answer_to(call, UNKNOWN if perhaps_run else NOT_RUN))
            elif not begun.writes and (begun.task.cancelled() or not begun.task.done()):
                found.append(answer_to(call, NOTHING_CHANGED))
            elif begun.task.done():
                found.append(begun.answer)
            else:
                begun.open = f"late-{uuid4().hex}"
                found.append(answer_to(call, GOES_ON, begun.open))
        self.begun = {id_: each for id_, each in self.begun.items() if each.left and not (each.told and not each.open)}
        return found

    def late(self, begun: Begun) -> BaseMessage:
        """The outcome in place of the message that it goes on."""
        id_, begun.open = begun.open, ""
        return begun.answer.model_copy(update={"id": id_})


def open_calls(messages: Sequence[BaseMessage]) -> list[ToolCall]:
    """The calls without an answer. An id is no name: some servers give every call of a tool the same."""
    waiting: list[ToolCall] = []
    for each in messages:
        if isinstance(each, AIMessage):
            waiting += each.tool_calls
        elif isinstance(each, ToolMessage):
            answered = next((call for call in waiting if call["id"] == each.tool_call_id), None)
            waiting = [call for call in waiting if call is not answered]
    return waiting


def answer_to(call: ToolCall, why: str, id_: str | None = None) -> ToolMessage:
    """An answer in the tool's place."""
    return ToolMessage(why, tool_call_id=call["id"] or "", name=call["name"], status="error", id=id_)
