"""Chat rows as people export them (messages, ShareGPT) to one spelling of roles, contents and tool calls."""

from __future__ import annotations

import json
from typing import Any

from executor.data.problem import Problem, error, warning
from executor.data.shape import TURN_KEYS, turns_of
from executor.data.structure import part_type, plain_text

Row = dict[str, Any]
_WRITTEN_BESIDE = frozenset({"content", "tool_calls", "function_call", "tool_call_id", "name"})
SHAREGPT_ROLES = {
    "system": "system",
    "developer": "developer",
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function": "function",
    "function_call": "function_call",
    "tool_call": "function_call",
}
_CONSUMED = frozenset({*TURN_KEYS, "system"})


def from_messages(raw: Row, line: int, system: str | None) -> tuple[Row | None, list[Problem]]:
    """A messages row; malformed turns pass through for the structure check to name."""
    turns = turns_of(raw)
    if not isinstance(turns, list):
        return {"messages": turns}, []
    converted: list[Any] = []
    problems: list[Problem] = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            converted.append(turn)
            continue
        if number == 1 and not ({"role", "content"} & turn.keys()) and "value" in turn:
            return from_sharegpt(raw, line, system)
        problems.extend(_other_parts(turn, number, line))
        converted.append(_message(turn))
    return None if problems else with_extras(raw, _led(system, converted), TURN_KEYS), problems


def _message(turn: Row) -> Row:
    message = dict(turn)
    if isinstance(message.get("content"), list) and all(part_type(part) == "text" for part in message["content"]):
        message["content"] = plain_text(message["content"])
    if turn.get("loss_weight") == 0 and turn.get("role") == "assistant":
        message["weight"] = 0
    return message


def _other_parts(turn: Row, number: int, line: int) -> list[Problem]:
    content = turn.get("content")
    kinds = {part_type(part) for part in content} - {"text", ""} if isinstance(content, list) else set()
    if not kinds:
        return []
    message = f"message {number} holds parts that are not text: {', '.join(sorted(kinds))}"
    fix = "Write text, and calls as tool_calls, or the row is left out."
    return [warning("unsupported_content", message, fix, line, "content")]


def from_sharegpt(raw: Row, line: int, system: str | None) -> tuple[Row | None, list[Problem]]:
    """A ShareGPT row: `from` and `value` under any of the usual role names."""
    turns = turns_of(raw)
    if not isinstance(turns, list):
        return {"messages": turns}, []
    converted: list[Any] = []
    problems: list[Problem] = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict):
            converted.append(turn)
            continue
        speaker = turn.get("from", turn.get("role"))
        role = SHAREGPT_ROLES.get(str(speaker).casefold())
        if role is None:
            known = ", ".join(SHAREGPT_ROLES)
            what = f'has the unknown role "{str(speaker)[:40]}"' if speaker is not None else "has no role"
            problems.append(error("bad_role", f"message {number} {what}", f"Use one of: {known}.", line, "from"))
            continue
        converted.append(_sharegpt_message(role, turn))
    own = raw.get("system")
    lead = own if isinstance(own, str) and own.strip() else system
    return None if problems else with_extras(raw, _led(lead, converted), _CONSUMED), problems


def _sharegpt_message(role: str, turn: Row) -> Row:
    value = turn.get("value", turn.get("content"))
    if "from" in turn and (turn.keys() & _WRITTEN_BESIDE):
        # written by this program, or by others that keep a message's own keys: these say more than the text
        more = {key: item for key, item in turn.items() if key not in ("from", "value", "role")}
        more.setdefault("content", value) if not more.get("tool_calls") and not more.get("function_call") else None
        return {"role": "assistant" if role == "function_call" else role, **more}
    if role == "function_call":
        calls = _calls(value)
        if calls:
            return {"role": "assistant", "content": "", "tool_calls": calls}
        role = "assistant"
    more = {key: item for key, item in turn.items() if key not in ("from", "value", "role", "content")}
    return {"role": role, "content": value, **more}


def _calls(value: Any) -> list[Row]:
    """Tool calls written as JSON text, `{"name", "arguments"}` or a list of these; empty where it is something else."""
    try:
        decoded = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return []
    calls = decoded if isinstance(decoded, list) else [decoded]
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        return []
    return [
        {"type": "function", "function": {"name": call["name"], "arguments": call.get("arguments", {})}}
        for call in calls
    ]


def _led(system: str | None, turns: list[Any]) -> list[Any]:
    """The turns under a system message, unless they have one."""
    if not system or any(isinstance(turn, dict) and turn.get("role") in ("system", "developer") for turn in turns):
        return turns
    return [{"role": "system", "content": system}, *turns]


def with_extras(raw: Row, turns: list[Any], consumed: frozenset[str]) -> Row:
    """The chat row with the columns that were not made into messages: tools, ids, sources and others."""
    row: Row = {"messages": turns}
    for key, value in raw.items():
        if key not in consumed and value not in (None, "", []):
            row[key] = _decoded(value) if key in ("tools", "functions") else value
    return row


def _decoded(value: Any) -> Any:
    """Tools written as JSON text, decoded; other text stays."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
