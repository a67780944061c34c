"""CSV and its relatives: which delimiter, is there a header, and which rows do not fit it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from executor.data.header import Header, header_of
from executor.data.problem import Problem, error, warning
from executor.data.source import Record

DELIMITERS = (",", "\t", ";", "|")
_FIELD_LIMIT = 1 << 26
"""characters; a longer field is a quote that was never closed"""
_SNIFFED_RECORDS = 100
_SAMPLE = 5000

OpenText = Callable[[], TextIO]


@dataclass(frozen=True)
class Delimited:
    delimiter: str
    header: Header
    problems: list[Problem]


def sniff(opened: OpenText, preferred: str | None = None) -> tuple[str, float] | None:
    """The delimiter and the share of records with as many fields as the first; None: the first record has one field."""
    with opened() as lines:
        head = list(itertools.islice(lines, _SAMPLE))
    best: tuple[float, int, bool] | None = None
    chosen: tuple[str, float] | None = None
    for delimiter in DELIMITERS:
        records = itertools.islice(_Records(head, delimiter), _SNIFFED_RECORDS)
        widths = [len(cells) for _, cells in records]
        if not widths or widths[0] < 2:
            continue
        share = widths.count(widths[0]) / len(widths)
        rank = (round(share, 1), widths[0], delimiter == preferred)
        if best is None or rank > best:
            best, chosen = rank, (delimiter, share)
    return chosen


def look(opened: OpenText, delimiter: str) -> Delimited | None:
    """The header and what is wrong with it, judged from the first rows; None where there is no record."""
    with opened() as lines:
        sample = list(itertools.islice(_Records(lines, delimiter), _SAMPLE))
    if not sample:
        return None
    line, cells = sample[0]
    header, problems = header_of(line, cells, [cells for _, cells in sample[1:]])
    return Delimited(delimiter, header, problems)


def records(opened: OpenText, found: Delimited) -> Iterator[Record]:
    """Every record as a row under the header; ragged rows stay, padded or cut, and carry their problem."""
    with opened() as lines:
        reader = _Records(lines, found.delimiter)
        if not found.header.invented:
            next(reader, None)
        for line, cells in reader:
            yield _record(found, line, cells)
        if reader.unclosed:
            message = "a quoted field is never closed: everything after it was read as one field"
            fix = 'Close the quote, or double it ("") inside a field.'
            yield Record(reader.start, None, error("unclosed_quote", message, fix, reader.start))


class _Records:
    """(first line, cells) of each record that is not blank."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        csv.field_size_limit(_FIELD_LIMIT)
        self.delimiter = delimiter
        self.start = 1
        """line on which the last record given starts"""
        self.unclosed = False
        """known once every record was given: the last one ends within quotes"""
        self._raw: list[str] = []
        self._reader = csv.reader(self._kept(lines), delimiter=delimiter)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._raw.append(line)
            # the reader refuses a NUL; it is no text in any case
            yield line.replace("\0", "") if "\0" in line else line

    def __next__(self) -> tuple[int, list[str]]:
        while True:
            start = self._reader.line_num + 1
            last, self._raw = self._raw, []
            try:
                cells = next(self._reader)
            except StopIteration:
                self.unclosed = _ends_in_quotes(last, self.delimiter)
                raise
            except csv.Error:
                self.start, self.unclosed = start, True
                raise StopIteration from None
            self.start = start
            if any(cell.strip() for cell in cells):
                return start, cells


def _ends_in_quotes(raw: list[str], delimiter: str) -> bool:
    """The lenient reader swallows the rest of the file after an unclosed quote; the strict one says so at the end."""
    try:
        for _ in csv.reader(raw, delimiter=delimiter, strict=True):
            pass
    except csv.Error as problem:
        return "unexpected end of data" in str(problem)
    return False


def _record(found: Delimited, line: int, cells: list[str]) -> Record:
    header = found.header
    width = len(header.names)
    if len(cells) == width:
        if cells == header.cells and not header.invented:
            message = "the header line occurs again inside the data; it was left out"
            return Record(line, None, warning("repeated_header", message, "Remove the line.", line))
        return Record(line, dict(zip(header.names, cells, strict=True)))
    padded: list[str | None] = [*cells[:width], *[None] * (width - len(cells))]
    row = dict(zip(header.names, padded, strict=True))
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        return Record(line, row)
    fields = f"{len(cells)} field{'s' if len(cells) != 1 else ''}"
    fix = f'Put fields that contain "{found.delimiter}" or line ends in double quotes, or add the missing fields.'
    return Record(line, row, error("ragged_row", f"this row has {fields}, the header has {width}", fix, line))
