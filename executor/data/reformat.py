"""A file to another training layout, row by row: every row is written or rejected with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data.convert import Builder, built_row
from executor.data.export import Layout, Writer, writer
from executor.data.preference import preference_writer
from executor.data.problem import Findings, Problem
from executor.data.source import Record, Source
from executor.errors import UserError
from executor.files import replacing, sha256_file

Row = dict[str, Any]


@dataclass(frozen=True)
class Reformatted:
    """The row equation holds: in_rows = out_rows + rejected_rows."""

    in_rows: int
    out_rows: int
    rejected_rows: int
    rejected: Findings
    """the first reason of each rejected row"""
    sha256: str


def reformat(source: Source, build: Builder | None, out: Path, to: Layout) -> Reformatted:
    """Write the rows of `source` in the layout `to` as JSON lines.

    `build` makes chat rows; None: the rows are preference pairs and stay so. The file is written whole or not at all.
    Raises UserError where no row could be converted, or the file changes meanwhile.
    """
    write = preference_writer if build is None else _chat_writer(build, writer(to))
    rejected = Findings()
    first: Problem | None = None
    rows = done = 0
    with replacing(out) as temporary:
        with open(temporary, "w", encoding="utf-8") as lines:
            for record in _rows(source):
                rows += 1
                row, problem = write(record)
                if row is None:
                    first = first or problem
                    rejected.add([problem] if problem else [])
                else:
                    done += 1
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        if not done:
            why = f" First: line {first.line}: {first.message}." if first else ""
            raise UserError(
                "No row could be converted; nothing was written", str(source.path), f"Repair the rows.{why}"
            )
    return Reformatted(rows, done, rows - done, rejected, sha256_file(out))


def _rows(source: Source) -> Iterator[Record]:
    return (record for record in source.records() if record.row is not None)


def _chat_writer(build: Builder, write: Writer) -> Callable[[Record], tuple[Row | None, Problem | None]]:
    def convert(record: Record) -> tuple[Row | None, Problem | None]:
        built = built_row(record, build)
        if built.row is None:
            return None, built.problems[0]
        return write(built.row, built.line)

    return convert
