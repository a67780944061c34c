"""Chat messages to the other layouts that training tools read; a row that does not fit is named, never bent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from executor.data.problem import Problem, error
from executor.data.shape import TURN_KEYS
from executor.data.structure import has_call, plain_text
from executor.errors import UserError

Row = dict[str, Any]
Layout = Literal["messages", "prompt_completion", "preference", "sharegpt", "alpaca"]
_SPEAKERS = {"user": "human", "assistant": "gpt"}


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
        taken = sorted(_OWN[layout] & {str(key).casefold() for key in _extras(row)})
        if taken:
            message = f'the row has a column "{taken[0]}" of its own, which {layout} uses for something else'
            return None, error("does_not_fit", message, "Rename the column, or use --to messages.", line, taken[0])
        converted = _WRITERS[layout](row)
        if converted is not None:
            return converted, None
        message = f"the row does not fit {layout}: {_REQUIRES[layout]}"
        return None, error("does_not_fit", message, "Use --to messages.", line)

    return write


def _extras(row: Row) -> Row:
    """The columns beside the messages: tools, ids, sources, whatever the row brought along."""
    return {key: value for key, value in row.items() if key != "messages"}


def _is_plain(turn: Row) -> bool:
    return turn.keys() == {"role", "content"} and isinstance(turn["content"], str)


def _prompt_completion(row: Row) -> Row | None:
    turns = row["messages"]
    if turns[-1]["role"] != "assistant" or len(turns) < 2:
        return None
    return {**_extras(row), "prompt": turns[:-1], "completion": turns[-1:]}


def _sharegpt(row: Row) -> Row | None:
    return {**_extras(row), "conversations": [_sharegpt_turn(turn) for turn in row["messages"]]}


def _sharegpt_turn(turn: Row) -> Row:
    """`from` and `value`; a turn that is more than a text keeps its other keys beside them, and so loses nothing."""
    value = plain_text(turn.get("content"))
    if _is_plain(turn):
        return {"from": _SPEAKERS.get(turn["role"], turn["role"]), "value": value}
    more = {key: item for key, item in turn.items() if key != "role"}
    if not has_call(turn):
        return {"from": _SPEAKERS.get(turn["role"], turn["role"]), "value": value, **more}
    called = [_named_call(call) for call in calls_of(turn)]
    return {"from": "function_call", "value": json.dumps(called, ensure_ascii=False), **more}


def calls_of(turn: Row) -> list[Any]:
    calls = turn.get("tool_calls") or [turn.get("function_call")]
    return calls if isinstance(calls, list) else [calls]


def _named_call(call: Any) -> Any:
    function = call.get("function", call) if isinstance(call, dict) else {}
    if not isinstance(function, dict):
        return call
    return {"name": function.get("name"), "arguments": function.get("arguments", {})}


def _alpaca(row: Row) -> Row | None:
    """One question and answer, those before it as history, the system message beside them; plain texts only."""
    turns = row["messages"]
    lead = turns[:1] if turns[0].get("role") == "system" else []
    rest = turns[len(lead) :]
    roles = [turn.get("role") for turn in rest]
    if not rest or roles != ["user", "assistant"] * (len(rest) // 2):
        return None
    if not all(_is_plain(turn) and turn["content"].strip() for turn in turns):
        return None
    texts = [turn["content"] for turn in rest]
    history = {"history": [texts[i : i + 2] for i in range(0, len(texts) - 2, 2)]} if len(texts) > 2 else {}
    system = {"system": lead[0]["content"]} if lead else {}
    return {**_extras(row), "instruction": texts[-2], "input": "", "output": texts[-1], **system, **history}


_WRITERS = {"prompt_completion": _prompt_completion, "sharegpt": _sharegpt, "alpaca": _alpaca}
_REQUIRES = {
    "prompt_completion": "its last message must be the reply, with something before it",
    "sharegpt": "it holds no messages",
    "alpaca": "it must be questions and answers in turn, in plain text, with at most a system message first",
}
_OWN = {
    "messages": frozenset({"messages"}),
    "prompt_completion": frozenset({"prompt", "completion", *TURN_KEYS}),
    "sharegpt": frozenset(TURN_KEYS) | {"system"},
    "alpaca": frozenset({"instruction", "input", "context", "output", "response", "system", "history", "instances"})
    | TURN_KEYS,
}
"""columns that mean something in a layout, and so cannot be carried along under that name"""
