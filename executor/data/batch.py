"""Well-formed chat rows as columns: the texts that every judgement on the quality of the data looks at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from executor.data import rows as parts
from executor.data.structure import plain_text

Row = dict[str, Any]
SIZE = 4096
"""rows of a batch: large enough that a call per batch costs nothing, small enough to stay in the cache"""


@dataclass
class Batch:
    """Columns of some rows; the first four lists have one entry a row, the last three one entry a text."""

    lines: list[int] = field(default_factory=list)
    """line of the file of each row"""
    asked: list[str] = field(default_factory=list)
    """all that was said before the last reply, without the system message"""
    answers: list[str] = field(default_factory=list)
    """the last reply: its text, or its tool calls as JSON"""
    systems: list[str] = field(default_factory=list)
    """the system message, or ''"""
    texts: list[str] = field(default_factory=list)
    """every text that is not empty, of every message"""
    owners: list[int] = field(default_factory=list)
    """for each text its row's place in the batch"""
    roles: list[str] = field(default_factory=list)
    """for each text the role that says it"""

    def add(self, row: Row, line: int) -> None:
        place = len(self.lines)
        self.lines.append(line)
        self.asked.append(parts.asked(row))
        self.answers.append(parts.answer(row))
        self.systems.append(parts.system(row))
        for turn in row["messages"]:
            text = plain_text(turn.get("content"))
            if text:
                self.texts.append(text)
                self.owners.append(place)
                self.roles.append(str(turn.get("role")))

    @classmethod
    def of(cls, rows: Iterable[Row], lines: Iterable[int]) -> Batch:
        batch = cls()
        for row, line in zip(rows, lines, strict=True):
            batch.add(row, line)
        return batch

    def __len__(self) -> int:
        return len(self.lines)
