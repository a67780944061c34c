"""CSV and its relatives: which delimiter, is there a header, and which rows do not fit it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from executor.data.problem import Problem, error, warning

DELIMITERS = (",", "\t", ";", "|")
_FIELD_LIMIT = 2**31 - 1
_SNIFFED_RECORDS = 100
_COMMON_NAMES = frozenset(
    [
        "text",
        "label",
        "category",
        "intent",
        "input",
        "output",
        "prompt",
        "question",
        "answer",
        "user",
        "assistant",
        "id",
    ]
)
_DATA_LIKE = re.compile(r"[+-]?(?=[.,:/% -]*\d)[\d.,:/% -]+$|\S{1,64}@\S{1,200}$|https?://")


@dataclass
class Delimited:
    delimiter: str
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    broken: dict[int, Problem] = field(default_factory=dict)
    """index of a row that does not fit the header, and why"""
    problems: list[Problem] = field(default_factory=list)


def sniff(text: str, preferred: str | None = None) -> tuple[str, float] | None:
    """The delimiter and the share of records with as many fields as the first; None: the first record has one field."""
    best: tuple[float, int, bool] | None = None
    chosen: tuple[str, float] | None = None
    for delimiter in DELIMITERS:
        widths = [len(cells) for _, cells in _records(text, delimiter, _SNIFFED_RECORDS)[0]]
        if not widths or widths[0] < 2:
            continue
        share = widths.count(widths[0]) / len(widths)
        rank = (round(share, 1), widths[0], delimiter == preferred)
        if best is None or rank > best:
            best, chosen = rank, (delimiter, share)
    return chosen


def parse(text: str, delimiter: str) -> Delimited:
    """Every record as a row under the header; ragged rows stay, padded or cut, and are named as problems."""
    found = Delimited(delimiter)
    records, quoting = _records(text, delimiter)
    found.problems.extend(quoting)
    if not records:
        return found
    header = records[0][1]
    if _is_data(header, [cells for _, cells in records[1:]]):
        found.columns = [f"column_{i}" for i in range(1, len(header) + 1)]
        found.problems.append(
            warning(
                "no_header",
                "the first line looks like data; the columns were named column_1, column_2, …",
                "Add a header line with the column names.",
                line=records[0][0],
            )
        )
    else:
        found.columns = _names(header, records[0][0], found.problems)
        records = records[1:]
    for line, cells in records:
        _add(found, line, cells, header)
    return found


def _records(text: str, delimiter: str, limit: int | None = None) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    """(first line, cells) of each record that is not blank, and what is wrong with the quotes."""
    csv.field_size_limit(_FIELD_LIMIT)
    records: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    start = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            records.append((start, cells))
        start = reader.line_num + 1
        if limit and len(records) >= limit:
            return records, []
    return records, _unclosed_quote(text, delimiter, records)


def _unclosed_quote(text: str, delimiter: str, records: list[tuple[int, list[str]]]) -> list[Problem]:
    """The lenient reader swallows the rest of the file after an unclosed quote; the strict one says so at the end."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as problem:
        if "unexpected end of data" in str(problem):
            message = "a quoted field is never closed: everything after it was read as one field"
            fix = 'Close the quote, or double it ("") inside a field.'
            return [error("unclosed_quote", message, fix, records[-1][0] if records else 1)]
    return []


def _is_data(header: list[str], rows: list[list[str]]) -> bool:
    """Whether the first record is data: numbers, sentences, or a value that its own column repeats."""
    sentences = 0
    for i, cell in enumerate(name.strip() for name in header):
        column = [cells[i].strip() for cells in rows if len(cells) > i and cells != header]
        if _DATA_LIKE.match(cell):
            return True
        if cell and cell.casefold() not in _COMMON_NAMES and cell in column:
            return True
        sentences += len(cell.split()) >= 5
    # a survey's questions are headers too, but beside them stands a short one such as "Timestamp"
    return len(header) > 1 and sentences == len(header)


def _names(header: list[str], line: int, problems: list[Problem]) -> list[str]:
    """Unique, non-empty column names."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for position, cell in enumerate(header, 1):
        name = " ".join(cell.split())
        if not name:
            name = f"column_{position}"
            message = f"column {position} has no name; it was named {name}"
            problems.append(warning("empty_header", message, "Name the column.", line, name))
        seen[name] += 1
        if seen[name] > 1:
            message = f'the column name "{name}" occurs more than once; the later one was named {name}_{seen[name]}'
            problems.append(warning("duplicate_header", message, "Give each column its own name.", line, name))
            name = f"{name}_{seen[name]}"
        names.append(name)
    return names


def _add(found: Delimited, line: int, cells: list[str], header: list[str]) -> None:
    width = len(found.columns)
    if cells == header and found.columns[0] != "column_1":
        message = "the header line occurs again inside the data; it was left out"
        found.problems.append(warning("repeated_header", message, "Remove the line.", line))
        return
    extra = [cell for cell in cells[width:] if cell.strip()]
    if len(cells) < width or extra:
        fields = f"{len(cells)} field{'s' if len(cells) != 1 else ''}"
        ragged = error(
            "ragged_row",
            f"this row has {fields}, the header has {width}",
            f'Put fields that contain "{found.delimiter}" or line ends in double quotes, or add the missing fields.',
            line,
        )
        found.broken[len(found.rows)] = ragged
        found.problems.append(ragged)
    padded: list[str | None] = [*cells[:width], *[None] * (width - len(cells))]
    found.rows.append(dict(zip(found.columns, padded, strict=True)))
    found.lines.append(line)
