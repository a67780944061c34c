"""Whether the tool calls of one chat row fit together: the calls, their answers, and the tools that were offered.

What a trainer can still learn from is a warning here; `strict` names what providers refuse.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from executor.data.problem import Problem, error, warning

STRICT = frozenset({"unknown_tool_call_id", "duplicate_tool_call_id", "missing_tool_call_id", "call_without_answer"})
"""warnings that are errors where the chat API's own rules are applied to training files"""


def tool_problems(row: dict[str, Any], turns: list[dict[str, Any]], line: int | None) -> list[Problem]:
    """Faults of a row whose messages are objects."""
    tools = row.get("tools")
    called = [(number, turn, call) for number, turn in enumerate(turns, 1) for call in _calls(turn)]
    if tools is None and not called and not any(turn.get("role") == "tool" for turn in turns):
        return []
    problems = list(_list_problems(tools, line))
    offered = _names(tools)
    if offered:
        unknown = {name: number for number, _, call in called if (name := _name(call)) and name not in offered}
        for name, number in unknown.items():
            message = f"message {number} calls {_short(name)}, which is not among the row's tools"
            problems.append(warning("unknown_tool", message, "Add it to tools, or correct the name.", line, "tools"))
    return [*problems, *_link_problems(turns, line)]


def _list_problems(tools: Any, line: int | None) -> Iterator[Problem]:
    if tools is None or isinstance(tools, str):
        return
    if not isinstance(tools, list):
        yield error("bad_tools", f'"tools" is a {type(tools).__name__}, not a list', "Write a list.", line, "tools")
        return
    for number, tool in enumerate(tools, 1):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            fix = 'Write {"type": "function", "function": {"name", "description", "parameters"}}.'
            yield error("bad_tools", f"tool {number} has no name", fix, line, "tools")
            continue
        schema = function.get("parameters", {})
        if not isinstance(_decoded(schema), dict):
            message = f"the parameters of tool {_short(function['name'])} are no JSON schema"
            fix = 'Write {"type": "object", "properties": {...}}.'
            yield warning("bad_tool_parameters", message, fix, line, "tools")


def _link_problems(turns: list[dict[str, Any]], line: int | None) -> Iterator[Problem]:
    """Each answer belongs to a call of the assistant message before it, and each such call has one."""
    waiting: dict[str, None] = {}
    asked: set[str] = set()
    for number, turn in enumerate(turns, 1):
        role = turn.get("role")
        if role == "tool":
            given = turn.get("tool_call_id")
            if asked and given is None:
                message = f"message {number} (tool) does not say which call it answers"
                yield warning("missing_tool_call_id", message, "Add its tool_call_id.", line, "tool_call_id")
                waiting.clear()
            elif asked and str(given) not in asked:
                message = f"message {number} answers the call {_short(given)}, which was not made"
                yield warning("unknown_tool_call_id", message, "Correct the tool_call_id.", line, "tool_call_id")
            waiting.pop(str(given), None)
            continue
        if waiting:
            names = ", ".join(map(_short, waiting))
            message = f"message {number} follows, but the call {names} has no answer"
            yield warning("call_without_answer", message, "Add the tool's message.", line, "tool_calls")
        ids = [str(call["id"]) for call in _calls(turn) if call.get("id") is not None]
        for twice, times in Counter(ids).items():
            if times > 1:
                message = f"{times} calls of message {number} share the id {_short(twice)}"
                yield warning("duplicate_tool_call_id", message, "Give each call its own id.", line, "tool_calls")
        waiting = dict.fromkeys(ids)
        asked = set(ids)


def _decoded(schema: Any) -> Any:
    """Some tables hold a schema as JSON text."""
    if not isinstance(schema, str):
        return {} if schema is None else schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError):
        return schema


def _calls(turn: dict[str, Any]) -> list[dict[str, Any]]:
    calls = turn.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _name(call: dict[str, Any]) -> str | None:
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _names(tools: Any) -> set[str]:
    listed = tools if isinstance(tools, list) else []
    return {name for tool in listed if isinstance(tool, dict) and (name := _name(tool))}


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
