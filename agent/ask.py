"""`finetune ask`: one message through the same agent as the chat, without a window."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from agent.events import ApprovalNeeded, Event, Turn, TurnDone
from agent.session import Session

NOT_APPROVED = "not approved: this command was given without --yes"


async def ask_once(
    text: str,
    data: str | None = None,
    chat: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    yes: bool = False,
    **session: Any,
) -> Turn:
    """Answer one message; `chat` continues a kept conversation.

    A step that needs approval runs with `yes`; without it the step's plan and command end the answer, and it stands
    in `steps` as not done. Raises UserError and ServiceError as `Session` does.
    """
    held: list[ApprovalNeeded] = []
    async with Session(model, base_url, chat, **session) as conversation:
        turn = await last(conversation.send(text, data))
        while isinstance(turn, ApprovalNeeded):
            if not yes:
                held.append(turn)
            turn = await last(conversation.answer_approval(yes, reason="" if yes else NOT_APPROVED))
    return dataclasses.replace(turn, answer="\n\n".join([turn.answer, *map(how_to_run, held)]))


async def last(events: AsyncIterator[Event]) -> Turn | ApprovalNeeded:
    """Run the turn to where it ends or asks."""
    end: Turn | ApprovalNeeded | None = None
    async for event in events:
        if isinstance(event, TurnDone):
            end = event.turn
        elif isinstance(event, ApprovalNeeded):
            end = event
    if end is None:
        raise RuntimeError("a turn ended without an answer")
    return end


def how_to_run(asked: ApprovalNeeded) -> str:
    head = f"**Waits for your approval:** `{asked.command}`"
    return f"{head}\n\n{asked.description}\n\nRun that command, or ask again with `--yes`."


def render(turn: Turn) -> str:
    """The turn for a terminal: answer, sources, what was done."""
    parts = [turn.answer]
    if turn.sources:
        parts.append("Sources\n" + "\n".join(f"  {source_line(source)}" for source in turn.sources))
    if turn.steps:
        parts.append("Steps  " + " · ".join(step_line(step) for step in turn.steps))
    return "\n\n".join(parts)


def source_line(source: dict[str, Any]) -> str:
    url = f"  {source['url']}" if source.get("url") else ""
    return f"[{source['id']}] {source['title']}{url} (read {source['read_on']})"


def step_line(step: dict[str, Any]) -> str:
    return f"{step['tool']} {step['seconds']:.1f} s" if step["ok"] else f"{step['tool']} not done"
