"""JSON and JSON lines as a stream: where the rows are in them, and the line each row starts on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

import msgspec

from executor.data.json_text import JsonText, TooLongError
from executor.data.problem import Problem, error
from executor.data.source import Record

ROW_KEYS = frozenset({
    "messages", "conversations", "conversation", "instruction", "prompt", "completion", "input", "output",
    "question", "answer", "query", "response", "chosen", "rejected", "chosen_messages", "rejected_messages", "text"
})  # fmt: skip
"""Keys that make one JSON object a row by itself, not a wrapper around rows."""
LONGEST = 1 << 26
"""characters of one JSON value; a longer one is not read"""
_TRIED_LINES = 5

OpenText = Callable[[], TextIO]


def is_json_lines(opened: OpenText, prefer_lines: bool) -> bool:
    """Whether each line is a value of its own.

    `prefer_lines`: the name says JSON lines, so a file of one line is read as that.
    """
    with opened() as text:
        lines = list(itertools.islice(numbered_lines(text), _TRIED_LINES))
    if not lines or len(lines[0][1]) >= LONGEST:
        return False
    values = [_value_or_none(line) for _, line in lines]
    first = lines[0][1].strip()
    if values[0] is None:
        # one broken line, not a value over several lines: it is closed, and whole ones follow
        closed = first[:1] == "{" and first[-1:] == "}"
        return closed and any(value and isinstance(value[0], dict) for value in values[1:])
    return len(lines) > 1 or (prefer_lines and not _holds_objects(values[0][0]))


def lines_of(opened: OpenText) -> Iterator[Record]:
    """A row for each line that is not blank."""
    with opened() as text:
        for number, line in numbered_lines(text):
            yield line_record(line, number)


def line_record(line: str, number: int) -> Record:
    """The row of one JSON line."""
    try:
        return _record(_load(line), number)
    except ValueError as problem:
        return Record(number, {}, _bad_json(problem, number))


def values_of(opened: OpenText) -> Iterator[Record]:
    """The rows of an array, of one object (a row, columns, or a wrapper around rows), or of objects one by one."""
    with opened() as text:
        content = JsonText(text, DECODER, LONGEST)
        if content.peek() == "[":
            content.take()
            yield from _array(content)
        else:
            yield from _objects(content)


def is_concatenated(opened: OpenText) -> bool:
    """Whether several values follow each other without an array around them."""
    with opened() as text:
        content = JsonText(text, DECODER, LONGEST)
        try:
            if content.peek() == "[":
                return False
            content.value()
        except (ValueError, RecursionError):
            return False
        return bool(content.peek())


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """(1-based number, line) of each line that is not blank; LF, CRLF and CR end a line."""
    number = 1
    while line := text.readline(LONGEST):
        if line.strip():
            yield number, line
        number += line[-1] in "\r\n"


def _value_or_none(line: str) -> tuple[Any] | None:
    try:
        return (_load(line),)
    except ValueError:
        return None


def _record(value: Any, line: int) -> Record:
    if isinstance(value, dict):
        return Record(line, value)
    kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a bare value")
    return Record(
        line, {}, error("not_an_object", f"the row is {kind}, not an object", 'Write {"key": value} rows.', line)
    )


def _checked(value: Any, line: int, escaped: bool) -> Record:
    """As `_record`, for values that Python's decoder read: it lets an escaped half of a surrogate pair through."""
    return Record(line, {}, _surrogate(line)) if escaped and _is_half(value) else _record(value, line)


def _is_half(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _surrogate(line: int) -> Problem:
    message = "the row holds half of a surrogate pair (a \\ud800-like escape), which is no character"
    return error("lone_surrogate", message, "Export the text again as UTF-8.", line)


def _array(content: JsonText) -> Iterator[Record]:
    """Rows of an array whose bracket was taken; stops at the first thing that is no JSON."""
    texts = None
    while True:
        line = content.line_here()
        if content.peek() == "]":
            return
        try:
            value = content.value()
        except (ValueError, RecursionError) as wrong:
            yield Record(line, {}, _bad_json(wrong, line))
            return
        if texts is None:
            texts = isinstance(value, str)
        row = {"text": value} if texts and isinstance(value, str) else value
        yield _checked(row, line, content.escaped)
        following = content.peek()
        if following == ",":
            content.take()
        elif following != "]":
            line = content.line_here()
            yield Record(line, {}, _bad_json(ValueError("a comma or the closing bracket is missing"), line))
            return


def _objects(content: JsonText) -> Iterator[Record]:
    """Values one after another; a single object may be columns, or a wrapper around rows."""
    line = content.line_here()
    start = content.mark()
    try:
        value = content.value()
    except TooLongError as wrong:
        if not content.seek_array(start):
            yield Record(line, {}, _bad_json(wrong, line))
            return
        yield from _array(content)
        return
    except (ValueError, RecursionError) as wrong:
        yield Record(line, {}, _bad_json(wrong, line))
        return
    if not content.peek():
        yield from _one_value(content, start, value, line)
        return
    yield _checked(value, line, content.escaped)
    while content.peek():
        line = content.line_here()
        try:
            yield _checked(content.value(), line, content.escaped)
        except (ValueError, RecursionError) as wrong:
            yield Record(line, {}, _bad_json(wrong, line))
            return


def _one_value(content: JsonText, start: int, value: Any, line: int) -> Iterator[Record]:
    """One JSON value: a row, columns, or a wrapper around rows (then each row keeps its own line)."""
    wrapper = _wrapper_key(value)
    if wrapper is not None and content.seek_array(start, wrapper):
        yield from _array(content)
        return
    escaped = content.escaped
    for row in value[wrapper] if wrapper is not None else _from_columns(value):
        yield _checked(row, line, escaped)


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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_FAST = msgspec.json.Decoder()


def _load(line: str) -> Any:
    """Raises ValueError for anything that is not one JSON value. What the fast decoder refuses the other explains."""
    try:
        return _FAST.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    try:
        value = DECODER.decode(line)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem
    if _is_half(value):
        raise LoneSurrogateError
    return value


class LoneSurrogateError(ValueError):
    """Text that holds half of a surrogate pair."""


def _bad_json(problem: Exception, line: int) -> Problem:
    if isinstance(problem, LoneSurrogateError):
        return _surrogate(line)
    if isinstance(problem, json.JSONDecodeError):
        where = f" (column {problem.colno})" if problem.lineno == 1 else f" (line {problem.lineno})"
        reason = problem.msg + where
    else:
        reason = "nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    fix = "Write one JSON object a line, with double quotes and no trailing comma."
    return error("bad_json", f"not valid JSON: {reason}", fix, line)
