"""What can be done about a problem in a chat row: repair it by a rule that changes nothing else, or drop the row."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from executor.data.rows import LEAD, before_answer

Row = dict[str, Any]
Repair = Callable[[Row], Row]
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

SAFE = (
    "control_characters",
    "double_encoded_arguments",
    "ends_without_reply",
    "exact_duplicate",
    "label_variant",
    "mojibake",
    "system_not_first",
)
"""fixes made when none is named: they lose nothing that could be learned"""
DROPPED = (
    "conflicting_answers",
    "empty_answer",
    "empty_content",
    "exact_duplicate",
    "near_duplicate",
    "no_user",
    "off_format",
    "off_format_keys",
    "other_language",
    "placeholder",
    "refusal",
    "repetition",
    "style_outlier",
    "template_tokens",
    "too_long",
    "truncated_answer",
)
"""problems whose fix is to leave the row out"""


def texts_changed(row: Row, change: Callable[[str], str]) -> Row:
    """The row with every text of its messages changed; the row itself where nothing is."""
    turns = [_turn_changed(turn, change) for turn in row["messages"]]
    return {**row, "messages": turns} if turns != row["messages"] else row


def _turn_changed(turn: Row, change: Callable[[str], str]) -> Row:
    content = turn.get("content")
    out = turn
    if isinstance(content, str):
        out = {**turn, "content": change(content)}
    elif isinstance(content, list):
        parts = [
            {**part, "text": change(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
        out = {**turn, "content": parts}
    if turn.get("tool_calls") or turn.get("function_call"):
        out = {key: _values_changed(value, change) if key in _CALLS else value for key, value in out.items()}
    return out


def _part_changed(part: Any, change: Callable[[str], str]) -> Any:
    text = part.get("text") if isinstance(part, dict) else None
    return {**part, "text": change(text)} if isinstance(text, str) else part


_CALLS = ("tool_calls", "function_call")


def _values_changed(value: Any, change: Callable[[str], str]) -> Any:
    """Every text within a call; arguments written as JSON text are changed inside, so that they stay JSON."""
    if isinstance(value, dict):
        return {
            key: item if key in ("id", "type", "name") else _values_changed(item, change) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_values_changed(item, change) for item in value]
    if not isinstance(value, str):
        return value
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        return change(value)
    if not isinstance(inner, dict | list):
        return change(value)
    changed = _values_changed(inner, change)
    return json.dumps(changed, ensure_ascii=False) if changed != inner else value


def _unmixed(text: str) -> str:
    """UTF-8 that was read as Windows-1252 or Latin-1, read again; text that does not come out whole stays."""
    for codec in ("cp1252", "latin-1"):
        try:
            better = text.encode(codec).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        return better
    return text


def _cut(row: Row) -> Row:
    return {**row, "messages": row["messages"][: len(before_answer(row)) + 1]}


def _system_first(row: Row) -> Row:
    lead = [turn for turn in row["messages"] if turn.get("role") in LEAD]
    return {**row, "messages": [*lead, *(turn for turn in row["messages"] if turn.get("role") not in LEAD)]}


def _decoded_once(row: Row) -> Row:
    turns = []
    for turn in row["messages"]:
        calls = turn.get("tool_calls")
        turns.append(
            {**turn, "tool_calls": [_call_decoded(call) for call in calls]} if isinstance(calls, list) else turn
        )
    return {**row, "messages": turns}


def _call_decoded(call: Row) -> Row:
    function = call.get("function", call)
    try:
        inner = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return call
    if not isinstance(inner, str):
        return call
    better = {**function, "arguments": inner}
    return {**call, "function": better} if "function" in call else better


REPAIRS: dict[str, Repair] = {
    "control_characters": lambda row: texts_changed(row, lambda text: _CONTROL.sub("", text)),
    "double_encoded_arguments": _decoded_once,
    "ends_without_reply": _cut,
    "html_markup": lambda row: texts_changed(row, html.unescape),
    "mojibake": lambda row: texts_changed(row, _unmixed),
    "system_not_first": _system_first,
}
"""problems that are repaired within the row"""
FIXABLE = tuple(sorted({*DROPPED, *REPAIRS, "label_variant"}))
"""every code that `data clean --fix` takes"""
