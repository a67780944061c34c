"""Rows of any supervised shape to chat messages. Nothing is invented: a row that lacks a part is rejected and named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from executor.data.chat import from_messages, from_sharegpt, with_extras
from executor.data.problem import Problem, error, has_error, warning
from executor.data.read import RawTable
from executor.data.shape import CONTEXT_NAMES, REPLY_NAMES, TURN_KEYS, Shape
from executor.data.source import Record
from executor.data.structure import row_problems
from executor.errors import UserError, nearest

Row = dict[str, Any]
_SLOT = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_PARTS = ("system", "user", "assistant")
_INSTEAD = {
    "preference": "Pairs need preference training. For supervised tuning keep the chosen reply of each row.",
    "kto": "Rated replies need KTO. For supervised tuning keep the rows whose label is true.",
    "text": "Running text has no replies. Write rows with an input and the answer you want.",
    "unknown": "Give a table with one column for the input and one for the answer, or chat messages.",
}


@dataclass
class Converted:
    rows: list[Row] = field(default_factory=list)
    """`{"messages": [{"role", "content"}, …]}`"""
    lines: list[int] = field(default_factory=list)
    """line of the file of each row"""
    indexes: list[int] = field(default_factory=list)
    """index of each row in the table"""
    rejected: list[Problem] = field(default_factory=list)
    """one for each row left out: why"""
    problems: list[Problem] = field(default_factory=list)
    """everything wrong with the rows left out; a row may have several faults"""


def to_messages(
    table: RawTable,
    shape: Shape,
    mapping: dict[str, str] | None = None,
    system: str | None = None,
    user: str | None = None,
    assistant: str | None = None,
) -> Converted:
    """Every row as chat messages, or rejected: rows in = rows out + rejected.

    `mapping` says which column is user, assistant, system; `system` is a fixed text; `user` and `assistant` are
    templates with `{column}`. Raises UserError for shapes without replies and for columns that do not exist.
    """
    return converted(table, row_builder(table.path, table.columns, shape, mapping, system, user, assistant))


def converted(table: RawTable, build: Builder) -> Converted:
    """What `build` makes of every row, or rejected: rows in = rows out + rejected."""
    out = Converted()
    for index, (raw, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        built = built_row(Record(line, raw, table.broken.get(index)), build)
        if built.row is None:
            out.rejected.append(built.problems[0])
            out.problems.extend(built.problems if index not in table.broken else [])
            continue
        out.rows.append(built.row)
        out.lines.append(line)
        out.indexes.append(index)
    return out


Builder = Callable[[Row, int], tuple[Row | None, list[Problem]]]
"""a row of the file and its line to the chat row and what is wrong with it; None: none can be made, the first says why

A fault that only keeps a row from being trained on, such as an empty cell, is a warning: the file is well formed.
"""


class Built(NamedTuple):
    """What became of one row of a file."""

    line: int
    raw: Row
    row: Row | None
    """the chat row; None: rejected, and the first problem says why"""
    problems: list[Problem]


def built_row(record: Record, build: Builder) -> Built:
    """One row of a file as a chat row, or rejected with everything that is wrong with it."""
    line, raw, problem = record
    raw = raw or {}
    if problem is not None:
        return Built(line, raw, None, [problem])
    row, problems = build(raw, line)
    problems = problems or row_problems(row or {}, line)
    return Built(line, raw, None if has_error(problems) else row, sorted(problems, key=lambda p: p.severity))


def row_builder(
    path: Path,
    columns: Sequence[str],
    shape: Shape,
    mapping: dict[str, str] | None = None,
    system: str | None = None,
    user: str | None = None,
    assistant: str | None = None,
) -> Builder:
    """What makes a chat row of one row of the file, or says what is wrong with it.

    The arguments are those of `to_messages`. Raises UserError for shapes without replies and unknown columns.
    """
    if mapping or user or assistant:
        return _flat_builder(path, columns, {**shape.mapping, **(mapping or {})}, system, user, assistant)
    if shape.name == "messages":
        return lambda raw, line: from_messages(raw, line, system)
    if shape.name == "sharegpt":
        return lambda raw, line: from_sharegpt(raw, line, system)
    if shape.name == "alpaca":
        return lambda raw, line: _from_alpaca(raw, line, system)
    if shape.name == "prompt_completion":
        flat = _flat_builder(path, columns, shape.mapping, system, user, assistant)
        return lambda raw, line: _from_pair(raw, line, shape.mapping, system, flat)
    if shape.name == "table":
        return _flat_builder(path, columns, shape.mapping, system, user, assistant)
    what = f"{path.name} cannot be used for supervised tuning. {shape.why}"
    raise UserError(what, str(path), _INSTEAD[shape.name])


def _from_pair(
    raw: Row, line: int, mapping: dict[str, str], system: str | None, flat: Builder
) -> tuple[Row | None, list[Problem]]:
    """A pair of texts, or of lists of messages (TRL's conversational prompt and completion)."""
    sides = [raw.get(mapping[part]) for part in ("user", "assistant")]
    consumed = frozenset({*mapping.values(), *TURN_KEYS})
    if not any(isinstance(side, list) for side in sides):
        row, problems = flat(raw, line)
        return None if row is None else with_extras(raw, row["messages"], consumed), problems
    turns = [
        turn
        for side, role in zip(sides, ("user", "assistant"), strict=True)
        for turn in (side if isinstance(side, list) else [{"role": role, "content": as_text(side)}])
    ]
    row, problems = from_messages({"messages": turns}, line, system)
    return None if row is None else with_extras(raw, row["messages"], consumed), problems


def _flat_builder(
    path: Path,
    columns: Sequence[str],
    mapping: dict[str, str],
    system: str | None,
    user: str | None,
    assistant: str | None,
) -> Builder:
    templates = {part: "{" + column + "}" for part, column in mapping.items()}
    given = {"user": user, "assistant": assistant}
    templates.update({part: template for part, template in given.items() if template})
    for part in ("user", "assistant"):
        if part not in templates:
            raise UserError(
                f"It is not clear which column is the {part}",
                str(path),
                "Name it: finetune data format FILE -o OUT --map user=COLUMN --map assistant=COLUMN. "
                f"Columns: {', '.join(columns)}.",
            )
    for part, template in templates.items():
        _check_template(path, columns, part, template)
    return lambda raw, line: _from_flat(raw, line, templates, system)


def _check_template(path: Path, columns: Sequence[str], part: str, template: str) -> None:
    if part not in _PARTS:
        raise UserError(f'"{part}" cannot be mapped', str(path), f"Map one of: {', '.join(_PARTS)}.")
    for name in _SLOT.findall(template):
        if name and name not in columns:
            hint = nearest(name, columns) or f"Columns: {', '.join(columns)}."
            raise UserError(f'There is no column "{name}" for {part}', str(path), hint)


def _from_flat(raw: Row, line: int, templates: dict[str, str], system: str | None) -> tuple[Row | None, list[Problem]]:
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for part in ("user", "assistant"):
        text, missing = _filled(templates[part], raw)
        texts[part] = text
        if missing or not text.strip():
            column = missing or ", ".join(_SLOT.findall(templates[part])) or part
            message = f'the {part} text is empty: column "{column}" has no value'
            problems.append(warning("empty_content", message, "Fill the cell, or the row is left out.", line, column))
    if problems:
        return None, problems
    own_system = _filled(templates["system"], raw)[0] if "system" in templates else ""
    lead = own_system if own_system.strip() else system or ""
    return _chat(lead, texts["user"], texts["assistant"]), []


def _filled(template: str, raw: Row) -> tuple[str, str | None]:
    """The template with its columns' values, and the first column that has none."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group(0)[0]
        text = as_text(raw.get(name))
        if not text.strip():
            missing.append(name)
        return text

    text = _SLOT.sub(value, template)
    return text, missing[0] if missing else None


def as_text(value: Any) -> str:
    """A cell as text: None is empty, text stays, everything else is JSON."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _from_alpaca(raw: Row, line: int, system: str | None) -> tuple[Row | None, list[Problem]]:
    row = {str(key).casefold(): value for key, value in raw.items()}
    if isinstance(row.get("instances"), list):
        # self-instruct's seed tasks: the examples of one instruction in one row
        if len(row["instances"]) != 1 or not isinstance(row["instances"][0], dict):
            message = f'the row holds {len(row["instances"])} "instances", not one'
            fix = "Write a row for each instance, with the instruction repeated."
            return None, [error("several_instances", message, fix, line, "instances")]
        row = {**{key: value for key, value in row.items() if key != "instances"}, **row["instances"][0]}
    reply_key = next((name for name in REPLY_NAMES if name in row), None)
    present = {"instruction": "instruction" in row, "output": bool(reply_key)}
    missing = [name for name, there in present.items() if not there]
    if missing:
        fix = 'Give each row an "instruction" and an "output".'
        return None, [error("missing_field", f'the row has no "{name}"', fix, line, name) for name in missing]
    context = next((_whole_text(row[name]) for name in CONTEXT_NAMES if name in row), "")
    user = "\n".join(part for part in (_whole_text(row["instruction"]), context) if part)
    reply = _whole_text(row[reply_key or ""])
    empty = [name for name, text in (("instruction", user), (reply_key or "output", reply)) if not text.strip()]
    if empty:
        fix = "Fill the text, or the row is left out."
        return None, [warning("empty_content", f'"{name}" is empty', fix, line, name) for name in empty]
    lead = _whole_text(row.get("system"))
    chat = _chat(lead if lead.strip() else system or "", user, reply)["messages"]
    turns = [*chat[:-2], *_history(row.get("history")), *chat[-2:]]
    return with_extras(row, turns, _ALPACA), []


_ALPACA = frozenset({"instruction", "system", "history", "instances", *CONTEXT_NAMES, *REPLY_NAMES, *TURN_KEYS})


def _whole_text(value: Any) -> str:
    """As `as_text`, with the spaces around it."""
    return value if isinstance(value, str) else as_text(value)


def _history(turns: Any) -> list[dict[str, str]]:
    """Earlier turns of an Alpaca row: `[[user, assistant], …]`."""
    pairs = [pair for pair in turns if isinstance(pair, list) and len(pair) == 2] if isinstance(turns, list) else []
    return [
        {"role": role, "content": _whole_text(text)}
        for pair in pairs
        for role, text in zip(_PARTS[1:], pair, strict=True)
    ]


def _chat(system: str, user: str, assistant: str) -> Row:
    lead = [{"role": "system", "content": system}] if system.strip() else []
    return {"messages": [*lead, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}
