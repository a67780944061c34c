"""Rows of any file as columns of hashes and lengths: what two files are compared by, about 50 bytes a row."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from executor.data import rows as parts
from executor.data.convert import Builder, built_row, row_builder
from executor.data.read import open_source
from executor.data.shape import SFT_SHAPES, Shape, detect_source
from executor.data.source import EmptyFileError, Record, Source
from executor.data.task import Tally

Row = dict[str, Any]
Ints = NDArray[np.int64]
KEY_NAMES = ("id", "_id", "uuid", "key")
"""columns that name a row, whatever else it holds"""
_BATCH = 4096
_LONGEST_KEY = 64


class Opened(NamedTuple):
    """A file to compare."""

    source: Source
    shape: Shape
    build: Builder | None
    """None: the rows are no supervised examples and are compared as they stand"""


class Seen(NamedTuple):
    """What one row is compared by."""

    whole: int
    question: int
    """hash of what was asked, casing, spacing and system message aside; 0: not known"""
    key: int
    """hash of its own name; 0: it has none"""
    asked: int
    """characters; of a row that is no example all of its JSON"""
    answered: int
    """characters"""


@dataclass(frozen=True)
class Columns:
    """One entry a readable row, in order, over all files of one side."""

    whole: Ints
    question: Ints
    key: Ints
    asked: Ints
    answered: Ints
    lines: Ints
    files: Ints
    """which file of the side"""
    answers: Tally
    """of the rows that are examples"""
    unreadable: int


def open_file(path: Path) -> Opened | None:
    """A file ready to be compared, or None where it holds no rows. Raises UserError where it cannot be read."""
    try:
        source = open_source(path)
    except EmptyFileError:
        return None
    shape = detect_source(source)
    complete = shape.name in ("messages", "sharegpt", "alpaca") or {"user", "assistant"} <= shape.mapping.keys()
    supervised = shape.name in SFT_SHAPES and complete
    return Opened(source, shape, row_builder(path, source.columns, shape) if supervised else None)


def columns_of(files: Sequence[Opened], across: bool) -> Columns:
    """Read every row once. `across`: the layouts differ, so rows are the same when they ask and answer the same."""
    numbers = [array("q") for _ in range(7)]
    tally = Tally()
    waiting: list[str] = []
    unreadable = 0
    for place, opened in enumerate(files):
        for record in opened.source.records():
            if record.row is None or record.problem is not None:
                unreadable += record.row is not None
                continue
            chat = chat_row(opened, record)
            seen = _seen(record.row, chat, across)
            for column, value in zip(numbers, (*seen, record.line, place), strict=True):
                column.append(value)
            if chat is not None:
                waiting.append(parts.answer(chat))
                if len(waiting) == _BATCH:
                    tally.add(waiting)
                    waiting.clear()
    tally.add(waiting)
    whole, question, key, asked, answered, lines, owners = (
        np.frombuffer(column, dtype=np.int64) if column else np.zeros(0, np.int64) for column in numbers
    )
    return Columns(whole, question, key, asked, answered, lines, owners, tally, unreadable)


def chat_row(opened: Opened, record: Record) -> Row | None:
    """The row as chat messages, or None where it is no whole example."""
    raw = record.row
    if raw is None or opened.build is None:
        return None
    if opened.shape.name == "messages" and _is_plain(raw):
        return raw
    return built_row(record, opened.build).row


def rows_at(files: Sequence[Opened], wanted: Sequence[int]) -> Iterator[tuple[int, Row, Row | None]]:
    """(place, row, chat row) of the readable rows at these places, in order; reads no further than the last."""
    left = sorted(set(wanted), reverse=True)
    place = -1
    for opened in files:
        if not left:
            return
        for record in opened.source.read():
            if record.row is None or record.problem is not None:
                continue
            place += 1
            if left and place == left[-1]:
                left.pop()
                yield place, record.row, chat_row(opened, record)
            if not left:
                return


def canonical(row: Any) -> bytes:
    """Equal for equal rows, whatever the order of their keys."""
    try:
        return _ENCODE(row)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(row, sort_keys=True, default=str).encode()


_ENCODE: Callable[[Any], bytes] = msgspec.json.Encoder(order="deterministic").encode


def _seen(raw: Row, chat: Row | None, across: bool) -> Seen:
    if chat is None:
        whole = canonical(raw)
        return Seen(hash(whole), 0, _key(raw), len(whole), 0)
    asked, answer = parts.asked(chat), parts.answer(chat)
    question = hash(" ".join(asked.casefold().split())) if asked else 0
    whole = canonical(_without_lead(chat) if across else raw)
    return Seen(hash(whole), question, _key(raw), len(asked), len(answer))


def _key(raw: Row) -> int:
    name = next((name for name in KEY_NAMES if name in raw), None)
    value = raw[name] if name is not None else None
    if not isinstance(value, str | int) or value == "" or len(str(value)) > _LONGEST_KEY:
        return 0
    return hash(f"{name}={value}")


def _without_lead(chat: Row) -> list[Any]:
    return [
        [turn.get("role"), _stripped(turn.get("content")), parts.calls(turn)]
        for turn in chat["messages"]
        if turn.get("role") not in parts.LEAD
    ]


def _stripped(content: Any) -> Any:
    return content.strip() if isinstance(content, str) else content


def _is_plain(raw: Row) -> bool:
    """Whether a row is chat messages of text as it stands, so that it needs no conversion."""
    turns = raw.get("messages")
    if type(turns) is not list or not turns:
        return False
    replied = False
    for turn in turns:
        if type(turn) is not dict or type(turn.get("content")) is not str or turn.get("role") not in _PLAIN_ROLES:
            return False
        replied = replied or turn["role"] == "assistant"
    return replied


_PLAIN_ROLES = ("system", "developer", "user", "assistant")
