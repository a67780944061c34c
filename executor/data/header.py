"""The first line of a table: column names, or data whose columns must be given names."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from executor.data.problem import Problem, warning

_COMMON_NAMES = frozenset(
    {
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
    }
)
_DATA_LIKE = re.compile(r"[+-]?(?=[.,:/% -]*\d)[\d.,:/% -]+$|\S{1,64}@\S{1,200}$|https?://")


@dataclass(frozen=True)
class Header:
    names: list[str]
    """unique and not empty"""
    cells: list[str]
    """the first line as it stands"""
    invented: bool
    """the first line is data; the names are column_1, column_2, …"""


def header_of(line: int, cells: list[str], rows: list[list[str]]) -> tuple[Header, list[Problem]]:
    """The header of a table whose first record stands on `line`; `rows` are some of the records below it."""
    if not _is_data(cells, rows):
        problems: list[Problem] = []
        return Header(_names(cells, line, problems), cells, False), problems
    names = [f"column_{i}" for i in range(1, len(cells) + 1)]
    message = "the first line looks like data; the columns were named column_1, column_2, …"
    fix = "Add a header line with the column names."
    return Header(names, cells, True), [warning("no_header", message, fix, line=line)]


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
