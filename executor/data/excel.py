"""Workbooks (xlsx, xlsm, xlsb, xls, ods) as rows of one sheet, read by calamine, which knows all of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, load_workbook

from executor.data.header import Header, header_of
from executor.data.problem import Problem, warning
from executor.data.source import EmptyWorkbookError, Record, Source
from executor.errors import UserError, nearest

Cells = list[Any]
_SAMPLE = 5000
_MOST_TITLE_LINES = 20


def open_excel(path: Path, sheet: str | None = None) -> Source:
    """The rows of one sheet: the one named, else the first with rows.

    The line of a record is the sheet's row. Raises UserError for a file that is no workbook, is locked, or has no such
    sheet, and EmptyWorkbookError where there are no rows.
    """
    book = _opened(path)
    names = list(book.sheet_names)
    sizes = {name: _height(book, name) for name in names}
    chosen = _chosen(path, sizes, sheet)
    problems = _others(path, sizes, chosen) if sheet is None else []
    filled = list(_filled(book, chosen))
    start, top = _top(filled[:_MOST_TITLE_LINES])
    below = [[_as_name(cell) for cell in cells] for line, cells in filled[:_SAMPLE] if line > start]
    header, found = header_of(start, [_as_name(cell) for cell in top], below)
    if filled[0][0] < start:
        message = f"what stands above the header in line {start} was left out"
        problems.append(warning("title_lines", message, "Check that nothing is missing.", filled[0][0]))
    header, found = _without_empty(header, found, [cells for line, cells in filled if line > start])
    problems += found

    def rows() -> Iterator[Record]:
        return _records(_opened(path), chosen, header, start)

    return Source(path, "excel", None, None, names, [name for name in header.names if name], problems, rows)


def _opened(path: Path) -> CalamineWorkbook:
    try:
        return load_workbook(str(path))
    except PasswordError as problem:
        raise UserError(f"{path.name} is locked by a password", str(path), "Save it without a password.") from problem
    except (CalamineError, OSError, ValueError) as problem:
        raise UserError(
            f"{path.name} is not a readable Excel workbook: {problem}", str(path), "Save the sheet again, or as CSV."
        ) from problem


def _height(book: CalamineWorkbook, name: str) -> int:
    try:
        found = book.get_sheet_by_name(name)
        return found.height if found.height and found.width else 0
    except CalamineError:
        return 0  # a chart sheet


def _chosen(path: Path, sizes: dict[str, int], sheet: str | None) -> str:
    if sheet is not None and sheet not in sizes:
        hint = nearest(sheet, sizes) or f"Sheets: {', '.join(sizes)}."
        raise UserError(f'There is no sheet "{sheet}"', str(path), hint)
    filled = [name for name, height in sizes.items() if height]
    name = sheet or next(iter(filled), None)
    if name is None or not sizes[name]:
        what = f'The sheet "{name}" is empty' if name else f"{path.name} holds no rows in any sheet"
        empty = EmptyWorkbookError(what, str(path), "Give a sheet with a header line and rows.")
        empty.sheets = list(sizes)
        raise empty
    return name


def _others(path: Path, sizes: dict[str, int], chosen: str) -> list[Problem]:
    others = [f'"{name}" ({height} lines)' for name, height in sizes.items() if height and name != chosen]
    if not others:
        return []
    message = f'only the sheet "{chosen}" is read; there are also {", ".join(others)}'
    return [warning("several_sheets", message, "Name another one with --sheet.")]


def _filled(book: CalamineWorkbook, name: str) -> Iterator[tuple[int, Cells]]:
    """(1-based row of the sheet, cells) of each row in which something stands."""
    sheet = book.get_sheet_by_name(name)
    for line, cells in enumerate(sheet.to_python(skip_empty_area=False), 1):
        if any(_is_filled(cell) for cell in cells):
            yield line, [_value(cell) for cell in cells]


def _is_filled(cell: Any) -> bool:
    return cell.strip() != "" if isinstance(cell, str) else cell is not None


def _top(head: list[tuple[int, Cells]]) -> tuple[int, Cells]:
    """The header's row: the first with several filled cells, where a title of one cell may stand above it."""
    widths = [sum(cell is not None for cell in cells) for _, cells in head]
    if len(head) > 2 and widths[0] == 1 and max(widths) > 1:
        return next(row for row, width in zip(head, widths, strict=True) if width > 1)
    return head[0]


def _value(cell: Any) -> Any:
    """A cell as JSON holds it: whole numbers whole, dates in ISO 8601, nothing where it is blank."""
    if not _is_filled(cell):
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, datetime.timedelta) else cell


def _as_name(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _without_empty(header: Header, problems: list[Problem], rows: list[Cells]) -> tuple[Header, list[Problem]]:
    """Columns without a name and without a value, at the right edge of many sheets, are none."""
    used = [
        bool(cell.strip()) or any(row[i] is not None for row in rows if len(row) > i)
        for i, cell in enumerate(header.cells)
    ]
    dropped = {name for name, kept in zip(header.names, used, strict=True) if not kept}
    names = [name if kept else "" for name, kept in zip(header.names, used, strict=True)]
    return Header(names, header.cells, header.invented), [p for p in problems if p.field not in dropped]


def _records(book: CalamineWorkbook, sheet: str, header: Header, start: int) -> Iterator[Record]:
    for line, cells in _filled(book, sheet):
        if line > start or (line == start and header.invented):
            yield Record(line, {name: cell for name, cell in zip(header.names, cells, strict=False) if name})
