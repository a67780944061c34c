"""Chat rows as OpenAI's chat API takes them: its fields and no others, arguments as JSON text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from executor.data.structure import plain_text
from executor.evaluate.reading import parse_json

Turn = dict[str, Any]


def messages_to_send(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without what only training knows (weights, reasoning, ids of rows), calls linked to their answers."""
    sent: list[Turn] = []
    waiting: list[str] = []
    """ids of calls that have no answer yet"""
    for place, turn in enumerate(turns):
        role, content = turn["role"], plain_text(turn.get("content"))
        if role in ("tool", "function"):
            given = turn.get("tool_call_id") or (waiting[0] if waiting else f"call_{place}")
            waiting = [each for each in waiting if each != given]
            sent.append({"role": "tool", "tool_call_id": str(given), "content": content})
            continue
        calls = calls_to_send(turn, place)
        waiting = [call["id"] for call in calls] or waiting
        message = {"role": role, "content": content or None if calls else content}
        named = {"name": turn["name"]} if isinstance(turn.get("name"), str) and turn["name"] else {}
        sent.append(message | named | ({"tool_calls": calls} if calls else {}))
    return sent


def calls_to_send(turn: Turn, place: int) -> list[Turn]:
    calls = turn.get("tool_calls") or ([turn["function_call"]] if turn.get("function_call") else [])
    found = []
    for number, call in enumerate(calls):
        function = call.get("function", call)
        arguments = function.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        name = {"name": function.get("name"), "arguments": text}
        found.append({"id": str(call.get("id") or f"call_{place}_{number}"), "type": "function", "function": name})
    return found


def tools_to_send(tools: Any) -> list[Turn]:
    """A row's tools, as a list or as JSON text; each as `{"type": "function", "function": {...}}`."""
    if isinstance(tools, str):
        tools = parse_json(tools)
    listed = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [{"type": "function", "function": described(tool.get("function", tool))} for tool in listed]


def described(function: Turn) -> Turn:
    """The API's own fields of a function; a schema written as JSON text is decoded."""
    kept: Turn = {key: function[key] for key in ("name", "description", "parameters", "strict") if key in function}
    if isinstance(kept.get("parameters"), str):
        kept["parameters"] = parse_json(kept["parameters"]) or {}
    return kept
