"""JSON and JSON lines: where the rows are in them, and the line each row starts on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from executor.data.problem import Problem, error

ROW_KEYS = frozenset(
    [
        "messages",
        "conversations",
        "conversation",
        "instruction",
        "prompt",
        "completion",
        "input",
        "output",
        "question",
        "answer",
        "query",
        "response",
        "chosen",
        "rejected",
        "chosen_messages",
        "rejected_messages",
        "text",
    ]
)
"""Keys that make one JSON object a row by itself, not a wrapper around rows."""
_SPACE = re.compile(r"[ \t\r\n]*")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass
class JsonRows:
    format: str = "json"
    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    broken: dict[int, Problem] = field(default_factory=dict)
    """index of a record that is no JSON object, and why; its row is empty"""

    def add(self, value: Any, line: int) -> None:
        if not isinstance(value, dict):
            kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a bare value")
            self.refuse(error("not_an_object", f"the row is {kind}, not an object", 'Write {"key": value} rows.', line))
        elif not _is_clean(value):
            message = "the row holds half of a surrogate pair (a \\ud800-like escape), which is no character"
            self.refuse(error("lone_surrogate", message, "Export the text again as UTF-8.", line))
        else:
            self.rows.append(value)
            self.lines.append(line)

    def refuse(self, problem: Problem) -> None:
        self.broken[len(self.rows)] = problem
        self.rows.append({})
        self.lines.append(problem.line or 1)


def parse(text: str, prefer_lines: bool) -> JsonRows:
    """The rows of JSON or JSON lines.

    `prefer_lines`: the name says JSON lines, so a file of one line is read as that.
    """
    first = next((line for _, line in numbered_lines(text)), "")
    try:
        value = _load(first)
    except ValueError:
        return _whole(text)
    alone = sum(1 for _ in numbered_lines(text)) == 1
    if alone and (_holds_objects(value) or not prefer_lines):
        return _whole(text)
    return _json_lines(text)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(1-based number, line) of each line that is not blank; LF, CRLF and CR end a line."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        if line.strip():
            yield number, line


def _json_lines(text: str) -> JsonRows:
    found = JsonRows("jsonl")
    for number, line in numbered_lines(text):
        try:
            found.add(_load(line), number)
        except ValueError as problem:
            found.refuse(_bad_json(problem, number))
    return found


def _whole(text: str) -> JsonRows:
    """An array (read element by element, so that each has its line), one object, or objects one after another."""
    found = JsonRows()
    body = _SPACE.match(text)
    start = body.end() if body else 0
    if text[start : start + 1] == "[":
        _array(text, start + 1, found)
        return found
    values, problem = _values(text)
    if len(values) == 1 and problem is None:
        _one_value(text, values[0][1], values[0][0], found)
        return found
    found.format = "jsonl"
    for line, value in values:
        found.add(value, line)
    if problem:
        found.refuse(problem)
    return found


def _array(text: str, position: int, found: JsonRows) -> None:
    """Rows of the array whose first element starts at `position`; stops at the first thing that is no JSON."""
    counter = _LineCounter(text)
    elements: list[tuple[int, Any]] = []
    problem: Problem | None = None
    while True:
        position = _skip(text, position)
        line = counter.at(position)
        if text[position : position + 1] == "]":
            break
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as wrong:
            problem = _bad_json(wrong, line)
            break
        elements.append((line, value))
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            problem = _bad_json(ValueError("a comma or the closing bracket is missing"), counter.at(position))
            break
    if elements and all(isinstance(value, str) for _, value in elements):
        elements = [(line, {"text": value}) for line, value in elements]
    for line, value in elements:
        found.add(value, line)
    if problem:
        found.refuse(problem)


def _one_value(text: str, value: Any, line: int, found: JsonRows) -> None:
    """One JSON value: a row, columns, or a wrapper around rows (then each row keeps its own line)."""
    wrapper = _wrapper_key(value)
    opening = wrapper and re.search(re.escape(json.dumps(wrapper, ensure_ascii=False)) + r"\s*:\s*\[", text)
    if opening:
        _array(text, opening.end(), found)
        return
    for row in value[wrapper] if wrapper else _from_columns(value):
        found.add(row, line)


def _wrapper_key(value: Any) -> str | None:
    """The one key that holds a list of objects, unless its name says that the object is itself a row."""
    if not isinstance(value, dict) or ROW_KEYS & {str(key).casefold() for key in value}:
        return None
    lists = [key for key, item in value.items() if _holds_objects(item)]
    return lists[0] if len(lists) == 1 else None


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _from_columns(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    if _is_columns(value):
        width = len(next(iter(value.values())))
        return [{name: column[i] for name, column in value.items()} for i in range(width)]
    if _is_pandas(value):
        index = next(iter(value.values()))
        return [{name: column[i] for name, column in value.items()} for i in index]
    return [value]


def _is_columns(value: dict[str, Any]) -> bool:
    """`{"text": ["a", "b"], "label": ["x", "y"]}`: at least two columns of plain values, equally long."""
    columns = list(value.values())
    plain = all(isinstance(c, list) and not any(isinstance(cell, dict | list) for cell in c) for c in columns)
    return plain and len(columns) >= 2 and len({len(column) for column in columns}) == 1


def _is_pandas(value: dict[str, Any]) -> bool:
    """`{"text": {"0": "a", "1": "b"}, …}`, pandas' default layout."""
    columns = list(value.values())
    if len(columns) < 2 or not all(isinstance(column, dict) for column in columns):
        return False
    return bool(columns[0]) and all(column.keys() == columns[0].keys() for column in columns) and "0" in columns[0]


def _values(text: str) -> tuple[list[tuple[int, Any]], Problem | None]:
    """(line, value) of JSON values written one after another, and what stopped the reading."""
    counter = _LineCounter(text)
    values: list[tuple[int, Any]] = []
    position = _skip(text, 0)
    while position < len(text):
        line = counter.at(position)
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as problem:
            return values, _bad_json(problem, line)
        values.append((line, value))
        position = _skip(text, position)
    return values, None


class _LineCounter:
    """Line numbers of rising positions, each character counted once."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.line = text, 0, 1

    def at(self, position: int) -> int:
        self.line += len(_LINE_END.findall(self.text, self.position, position))
        self.position = position
        return self.line


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _load(line: str) -> Any:
    """Raises ValueError for anything that is not one JSON value."""
    try:
        return _DECODER.decode(line)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def _bad_json(problem: Exception, line: int) -> Problem:
    if isinstance(problem, json.JSONDecodeError):
        where = f" (column {problem.colno})" if problem.lineno == 1 else f" (line {problem.lineno})"
        reason = problem.msg + where
    else:
        reason = str(problem)
    fix = "Write one JSON object a line, with double quotes and no trailing comma."
    return error("bad_json", f"not valid JSON: {reason}", fix, line)


def _is_clean(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
