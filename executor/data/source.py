"""A data file as a stream of rows that can be read again: what the file is, and each row with its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from executor.data.problem import Problem
from executor.errors import UserError

Row = dict[str, Any]


class EmptyFileError(UserError):
    """The file holds no rows."""


class EmptyWorkbookError(EmptyFileError):
    """A sound workbook without any row."""

    sheets: list[str]


class Record(NamedTuple):
    """One row of a file."""

    line: int
    """1-based line of the file on which the row starts; of a sheet, a binary table, or where
    rows share a line (a JSON array on one line), the 1-based row"""
    row: Row | None
    """empty where the row could not be read; None where the problem belongs to no row"""
    problem: Problem | None = None
    """why the row could not be read as it should"""


class Fingerprint(NamedTuple):
    """What tells that a file is still the same one."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True)
class Source:
    """`records()` reads the file anew each time and holds no more than one row (or one block of rows) in memory."""

    path: Path
    format: str
    """of the contract's closed set"""
    encoding: str | None
    """Python's codec name; None for binary formats"""
    delimiter: str | None
    sheets: list[str] | None
    columns: list[str]
    """of the header, or of the first rows where each row names its own"""
    problems: list[Problem]
    """of the file as a whole, such as its encoding; those of single rows come with their records"""
    read: Callable[[], Iterator[Record]]
    """opens the file and yields its rows; called by `records` only"""
    fingerprint: Fingerprint | None = field(default=None)

    def records(self) -> Iterator[Record]:
        """Every row in order. Raises UserError where the file changed since it was opened."""
        self.unchanged()
        yield from self.read()
        self.unchanged()

    def unchanged(self) -> None:
        """Raises UserError where the file is not the one that was opened."""
        if self.fingerprint is None:
            return
        try:
            same = Fingerprint.of(self.path) == self.fingerprint
        except OSError:
            same = False
        if not same:
            raise UserError(
                f"{self.path.name} changed while it was read",
                str(self.path),
                "Wait until nothing writes to it, or copy it, and run the command again. Nothing was written.",
            )
