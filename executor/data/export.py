"""Chat messages to the other layouts that training tools read; a row that does not fit is named, never bent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from executor.data.problem import Problem, error
from executor.data.rows import calls
from executor.data.shape import turns_of
from executor.data.source import Record
from executor.data.structure import plain_text
from executor.errors import UserError

Row = dict[str, Any]
Layout = Literal["messages", "prompt_completion", "preference", "sharegpt", "alpaca"]
_SPEAKERS = {"user": "human", "assistant": "gpt", "developer": "system"}


Writer = Callable[[Row, int], tuple[Row | None, Problem | None]]
"""(chat row, its line) to the row in a layout, or what the layout cannot hold"""


def writer(layout: Layout) -> Writer:
    """What writes one chat row in `layout`. Raises UserError for `preference`: chat rows hold no rejected reply."""
    if layout == "preference":
        raise UserError(
            "These rows hold one reply each, a preference row needs a chosen and a rejected one",
            "--to preference",
            "Give rows with chosen and rejected replies.",
        )
    if layout == "messages":
        return lambda row, _: (row, None)

    def write(row: Row, line: int) -> tuple[Row | None, Problem | None]:
        converted = _WRITERS[layout](row)
        if converted is not None:
            return converted, None
        message = f"the row does not fit {layout}: {_REQUIRES[layout]}"
        return None, error("does_not_fit", message, "Use --to messages.", line)

    return write


def preference_writer(record: Record) -> tuple[Row | None, Problem | None]:
    """`{"prompt": messages, "chosen": messages, "rejected": messages}` of a preference row, as TRL reads it."""
    raw = record.row or {}
    problem = record.problem or preference_problem(raw, record.line)
    return (None, problem) if problem else (_preference(raw), None)


def preference_problem(raw: Row, line: int) -> Problem | None:
    """What is wrong with one preference row, or None."""
    suffix = "_messages" if "chosen_messages" in raw else ""
    for name in (f"chosen{suffix}", f"rejected{suffix}"):
        if not any(plain_text(turn["content"]).strip() for turn in _turns(raw.get(name), "assistant")):
            fix = "Give each row a chosen and a rejected reply."
            return error("missing_field", f'the row has no "{name}" reply', fix, line, name)
    return None


def _preference(raw: Row) -> Row:
    suffix = "_messages" if "chosen_messages" in raw else ""
    chosen, rejected = (_turns(raw[f"{name}{suffix}"], "assistant") for name in ("chosen", "rejected"))
    prompt = _turns(raw.get("prompt", turns_of(raw)), "user")
    shared = 0
    while not prompt and shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return {"prompt": prompt or chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _turns(value: Any, role: str) -> list[Row]:
    """A text, one turn or a list of turns, as messages; what is none of these is empty."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    turns = value if isinstance(value, list) else [value]
    speakers = {"human": "user", "gpt": "assistant"}
    found = []
    for turn in turns:
        if not isinstance(turn, dict):
            return []
        speaker = str(turn.get("role", turn.get("from", role)))
        found.append(
            {"role": speakers.get(speaker, speaker), "content": plain_text(turn.get("content", turn.get("value")))}
        )
    return found


def _prompt_completion(row: Row) -> Row | None:
    turns = row["messages"]
    if turns[-1]["role"] != "assistant" or len(turns) < 2:
        return None
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _sharegpt(row: Row) -> Row | None:
    if any(calls(turn) for turn in row["messages"]):
        return None
    turns = [
        {"from": _SPEAKERS.get(turn["role"], turn["role"]), "value": plain_text(turn.get("content"))}
        for turn in row["messages"]
    ]
    return {"conversations": turns}


def _alpaca(row: Row) -> Row | None:
    turns = [turn for turn in row["messages"] if turn["role"] != "system"]
    if [turn["role"] for turn in turns] != ["user", "assistant"] or any(calls(turn) for turn in turns):
        return None
    system = next((turn for turn in row["messages"] if turn["role"] == "system"), None)
    texts = [plain_text(turn.get("content")) for turn in turns]
    written = {"instruction": texts[0], "input": "", "output": texts[1]}
    return {**written, "system": plain_text(system.get("content"))} if system else written


_WRITERS = {"prompt_completion": _prompt_completion, "sharegpt": _sharegpt, "alpaca": _alpaca}
_REQUIRES = {
    "prompt_completion": "its last message must be the reply",
    "sharegpt": "it holds tool calls",
    "alpaca": "it must be one question and one answer in text",
}
