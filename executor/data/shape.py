"""What the rows mean: chat messages, instruction pairs, preferences, or a plain table with a text and an answer."""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.data.read import RawTable
from executor.data.source import Source

ShapeName = Literal[
    "messages", "sharegpt", "alpaca", "prompt_completion", "preference", "kto", "table", "text", "unknown"
]
SFT_SHAPES: tuple[ShapeName, ...] = ("messages", "sharegpt", "alpaca", "prompt_completion", "table")
"""Shapes that hold a reply to learn."""

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("input", "output"),
    ("query", "response"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("user", "assistant"),
)
"""(input, reply) column names that people use for pairs, most specific first."""
_TURN_LISTS = ("messages", "conversations", "conversation")
TURN_KEYS = frozenset(_TURN_LISTS)
"""columns that hold the turns of a conversation, the first found counts"""
CONTEXT_NAMES = ("input", "context")
REPLY_NAMES = ("output", "response")
_USER_NAMES = [
    "text",
    "sentence",
    "utterance",
    "message",
    "question",
    "query",
    "review",
    "comment",
    "ticket",
    "email",
    "body",
    "content",
    "description",
    "input",
    "prompt",
    "title",
    "request",
    "user",
]
_ANSWER_NAMES = [
    "label",
    "category",
    "intent",
    "class",
    "sentiment",
    "topic",
    "target",
    "tag",
    "output",
    "answer",
    "response",
    "reply",
    "completion",
    "assistant",
    "queue",
    "department",
    "team",
    "group",
    "type",
    "priority",
]
_ABOUT_NAMES = {
    "channel",
    "source",
    "language",
    "lang",
    "date",
    "created",
    "status",
    "region",
    "country",
    "id",
    "split",
}
"""columns that say where a row comes from: an answer only where nothing else can be it"""
_SYSTEM_NAMES = ("system", "system_prompt")
_SAMPLE = 5000
_LABEL_LENGTH = 60
"""characters; a longer answer is prose, not a label"""


@dataclass(frozen=True)
class Shape:
    name: ShapeName
    mapping: dict[str, str] = field(default_factory=dict)
    """for flat rows: which column is user, assistant, system"""
    why: str = ""
    """one sentence that explains the guess"""


@dataclass(frozen=True)
class Column:
    """What the values of one column look like."""

    name: str
    filled: int
    distinct: int
    median_length: float
    plain: bool
    """text, numbers and booleans only: no lists, no objects"""

    @property
    def is_label(self) -> bool:
        few = self.distinct <= max(2, self.filled // 2) and self.distinct > 1
        return self.plain and few and self.median_length <= _LABEL_LENGTH


def detect(table: RawTable) -> Shape:
    """The shape most rows have; rows that differ are the check's business."""
    rows = [row for i, row in enumerate(table.rows) if i not in table.broken] or table.rows
    return detect_rows(table.format, table.columns, rows[:_SAMPLE])


def detect_source(source: Source) -> Shape:
    """As `detect`, from the first rows of a file."""
    sample = [record for record in itertools.islice(source.records(), _SAMPLE) if record.row is not None]
    whole = [record.row or {} for record in sample if record.problem is None]
    return detect_rows(source.format, source.columns, whole or [record.row or {} for record in sample])


def detect_rows(file_format: str, columns: Sequence[str], rows: list[dict[str, Any]]) -> Shape:
    """The shape most of these rows have."""
    if file_format == "text":
        return Shape("text", why="The file is running text, one row a line, without questions and answers.")
    votes = Counter(_nested_shape(row) for row in rows)
    name, most = votes.most_common(1)[0]
    if name and most * 2 >= len(rows):
        return Shape(name, why=_WHY[name])
    return _flat_shape(columns, rows)


_WHY: dict[ShapeName, str] = {
    "messages": 'The rows hold "messages" with role and content.',
    "sharegpt": 'The rows hold "conversations" with from and value.',
    "preference": "The rows hold a chosen and a rejected reply.",
    "kto": "The rows hold a reply and a true/false label for it.",
}


_PREFERENCES = (
    {"chosen", "rejected"},
    {"chosen_messages", "rejected_messages"},
    {"preferred_output", "non_preferred_output"},
)


def _nested_shape(row: dict[str, Any]) -> ShapeName | None:
    keys = row.keys()
    if any(pair <= keys for pair in _PREFERENCES):
        return "preference"
    turns = turns_of(row)
    replies = turns is not None or {"prompt", "completion"} <= keys
    if replies and isinstance(row.get("label", row.get("kto_tag")), bool):
        return "kto"
    if turns is None:
        return None
    first = turns[0] if isinstance(turns, list) and turns else None
    if isinstance(first, dict) and "role" not in first and ("from" in first or "value" in first):
        return "sharegpt"
    if "messages" not in keys and "conversations" in keys and not isinstance(first, dict):
        return "sharegpt"
    return "messages"


def turns_of(row: dict[str, Any]) -> Any:
    """The list of turns of a chat row, wherever it is kept; a JSON string is decoded; None where there is none.

    Raises nothing: what is not a list of turns is returned as it is, for the check to name.
    """
    for key in _TURN_LISTS:
        if key not in row:
            continue
        value = row[key]
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            return value["messages"]
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        return value
    return None


def _flat_shape(column_names: Sequence[str], rows: list[dict[str, Any]]) -> Shape:
    names = {name.casefold(): name for name in column_names}
    if "instruction" in names and any(name in names for name in (*CONTEXT_NAMES, *REPLY_NAMES, "instances")):
        context = any(name in names for name in (*CONTEXT_NAMES, "instances"))
        if context or "output" in names:
            return Shape("alpaca", why="The columns are an instruction, perhaps with an input, and an output.")
    for user, assistant in PAIRS:
        if user in names and assistant in names:
            mapping = _with_system({"user": names[user], "assistant": names[assistant]}, names)
            return Shape("prompt_completion", mapping, f'The columns "{user}" and "{assistant}" make a pair.')
    if "prompt" in names and not any(name in names for name in _ANSWER_NAMES):
        mapping = {"user": names["prompt"]}
        return Shape("prompt_completion", mapping, 'There is a "prompt" column and no column with replies.')
    columns = [_column(name, rows) for name in column_names]
    if names.keys() <= {"text", "content", "meta", "url", "timestamp"} and names.keys() & {"text", "content"}:
        return Shape("text", why="There is one column of running text and no column with answers.")
    if len(columns) < 2 or not any(column.plain and column.filled for column in columns):
        what = f'is only the column "{column_names[0]}"' if len(columns) == 1 else "are no columns of plain text"
        return Shape("unknown", why=f"There {what}: no input with its answer.")
    return _table_shape(columns, names)


def _column(name: str, rows: list[dict[str, Any]]) -> Column:
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    plain = not any(isinstance(value, list | dict) for value in values)
    texts = [str(value) for value in values]
    length = statistics.median(map(len, texts)) if texts else 0.0
    return Column(name, len(values), len(set(texts)), length, plain)


def _table_shape(columns: list[Column], names: dict[str, str]) -> Shape:
    plain = [column for column in columns if column.plain and column.filled]
    ranked = sorted(plain, key=lambda column: _answer_rank(column, columns.index(column)), reverse=True)
    best = ranked[0]
    answer = best if best.is_label or best.name.casefold() in _ANSWER_NAMES else None
    rest = [column for column in plain if column is not answer]
    user = max(rest, key=_user_rank) if rest else None
    if user is None or answer is None:
        mapping = {"user": user.name} if user else {}
        return Shape("table", mapping, "It is a table, but which column holds the answer is not clear.")
    mapping = _with_system({"user": user.name, "assistant": answer.name}, names)
    kind = f"{answer.distinct} different values" if answer.is_label else "the answers"
    others = [column.name for column in ranked if column.is_label and column not in (answer, user)]
    doubt = (
        f" Other columns with few values: {', '.join(others)}; choose with --map assistant=COLUMN." if others else ""
    )
    return Shape("table", mapping, f'"{user.name}" holds the text and "{answer.name}" {kind}.{doubt}')


def _with_system(mapping: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    system = next((names[name] for name in _SYSTEM_NAMES if name in names), None)
    return {**mapping, "system": system} if system else mapping


def _answer_rank(column: Column, position: int) -> tuple[bool, bool, bool, int, int]:
    """A column named like an answer, then one with few short values, then one that is not about the row's origin.

    Of several named ones the earlier in the list of names, of several others the one further right.
    """
    name = column.name.casefold()
    known = name in _ANSWER_NAMES
    place = -_ANSWER_NAMES.index(name) if known else 0
    return known, column.is_label, name not in _ABOUT_NAMES, place, position


def _user_rank(column: Column) -> float:
    """The longest text; a column named like an input counts as longer, so that it beats an address or an id."""
    return column.median_length * (3 if column.name.casefold() in _USER_NAMES else 1)
