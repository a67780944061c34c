"""A long conversation, short enough for a model: the newest turns whole, of the older ones what was asked and found."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

MOST = 60_000
"""characters of the messages that a model is sent"""
LEAST = 1_000
"""characters that a tool result keeps in any case"""
RESULT = 6_000
"""characters of one tool result in an older turn"""
LINE = 200
"""characters of a line of the summary"""
LINES = 60
HEAD = "# Earlier in this conversation, shortened\n"


def compact(messages: Sequence[AnyMessage], most: int = MOST) -> tuple[list[AnyMessage], str]:
    """(the messages to send, a summary of those that are left out, empty where none is).

    Whole turns are kept from the end: a call is never parted from its result. The last turn always stays; where it
    alone is too long its results are cut.
    """
    turns = in_turns(messages)
    if size(messages) <= most or not turns:
        return list(messages), ""
    kept = [cut(turns[-1], room(turns[-1], most))]
    left = most - size(kept[0])
    older = turns[:-1]
    while older and size(cut(older[-1], RESULT)) <= left:
        shortened = cut(older.pop(), RESULT)
        kept.insert(0, shortened)
        left -= size(shortened)
    return [message for turn in kept for message in turn], summary(older)


def in_turns(messages: Sequence[AnyMessage]) -> list[list[AnyMessage]]:
    """The messages from each of the user's to before the next; what stands before the first belongs to it."""
    turns: list[list[AnyMessage]] = []
    for message in messages:
        if isinstance(message, HumanMessage) or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def size(messages: Sequence[AnyMessage]) -> int:
    """Characters, the arguments of calls among them."""
    called = (call["args"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls)
    return sum(len(message.text) for message in messages) + sum(len(str(args)) for args in called)


def room(turn: Sequence[AnyMessage], most: int) -> int:
    """Characters that each tool result of a turn may take: short ones leave theirs to the long ones."""
    results = sorted(len(message.text) for message in turn if isinstance(message, ToolMessage))
    left = most - (size(turn) - sum(results))
    for place, length in enumerate(results):
        share = left // (len(results) - place)
        if length > share:
            return max(LEAST, share)
        left -= length
    return max(LEAST, most)


def cut(messages: Sequence[AnyMessage], most: int) -> list[AnyMessage]:
    """The messages with every long tool result cut in its middle."""
    return [
        message.model_copy(update={"content": middle_out(message.text, most)})
        if isinstance(message, ToolMessage) and len(message.text) > most
        else message
        for message in messages
    ]


def middle_out(text: str, most: int) -> str:
    half = max(1, most // 2)
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def summary(turns: Sequence[Sequence[AnyMessage]]) -> str:
    """A line for each question, each tool result and each answer; the newest where they are many."""
    lines = []
    for turn in turns:
        for message in turn:
            if isinstance(message, HumanMessage):
                lines.append(f"- The person: {one_line(message.text)}")
            elif isinstance(message, ToolMessage):
                lines.append(f"  - {message.name}: {one_line(message.text)}")
            elif isinstance(message, AIMessage) and message.text.strip():
                lines.append(f"  - You: {one_line(message.text)}")
    return HEAD + "\n".join(lines[-LINES:]) if lines else ""


def one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LINE else words[: LINE - 1] + "…"
