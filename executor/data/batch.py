"""Well-formed chat rows as columns: the texts that every judgement on the quality of the data looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.data import rows as parts
from executor.data.structure import plain_text
from executor.data.structure_pass import PlainRow

Row = dict[str, Any]
SIZE = 4096
"""rows of a batch: large enough that a call per batch costs nothing, small enough to stay in the cache"""


@dataclass
class Batch:
    """Columns of some rows; the last three lists have one entry a text, all others one a row."""

    lines: list[int] = field(default_factory=list)
    """line of the file of each row"""
    asked: list[str] = field(default_factory=list)
    """all that was said before the last reply, without the system message"""
    answers: list[str] = field(default_factory=list)
    """the last reply without the spaces around it: its text, or its tool calls as JSON"""
    replies: list[str] = field(default_factory=list)
    """the last reply as it stands"""
    systems: list[str] = field(default_factory=list)
    """the system message, or ''"""
    wholes: list[int] = field(default_factory=list)
    """64-bit hash of the row: equal for rows that train the same (only spaces around texts may differ)"""
    questions: list[int] = field(default_factory=list)
    """64-bit hash of all before the last reply, casing and spacing aside"""
    texts: list[str] = field(default_factory=list)
    """every text that is not empty, of every message"""
    owners: list[int] = field(default_factory=list)
    """for each text its row's place in the batch"""
    roles: list[str] = field(default_factory=list)
    """for each text the role that says it"""

    def add(self, row: Row, line: int) -> None:
        turns = [(str(turn.get("role")), plain_text(turn.get("content"))) for turn in row["messages"]]
        plain = not (row.keys() & _TOOLS) and all(turn.keys() <= _PLAIN for turn in row["messages"])
        self._add(turns, line, 0 if plain else hash(parts.whole_key(row)))
        if not plain:
            self.answers[-1] = parts.answer(row)
            self.replies[-1] = self.replies[-1] or self.answers[-1]

    def add_plain(self, rows: Sequence[PlainRow], lines: Sequence[int]) -> None:
        """Many rows at once; where all have the same roles column by column, which is several times faster."""
        roles = tuple([turn.role for turn in rows[0].messages]) if rows else ()
        single = roles[-1:] == ("assistant",) and "assistant" not in roles[:-1]
        if single and all(tuple([turn.role for turn in row.messages]) == roles for row in rows):
            self._add_columns(roles, rows, lines)
            return
        for row, line in zip(rows, lines, strict=True):
            self._add([(turn.role, turn.content) for turn in row.messages], line, 0)

    def _add_columns(self, roles: tuple[str, ...], rows: Sequence[PlainRow], lines: Sequence[int]) -> None:
        columns = [[row.messages[i].content for row in rows] for i in range(len(roles))]
        said = [column for role, column in zip(roles, columns, strict=True) if role not in parts.LEAD][:-1]
        lead = next((column for role, column in zip(roles, columns, strict=True) if role in parts.LEAD), None)
        stripped = [[text.strip() for text in column] for column in columns]
        keys = [[" ".join(text.casefold().split()) for text in column] for column in columns[:-1]]
        first = len(self.lines)
        self.lines.extend(lines)
        self.asked.extend(said[0] if len(said) == 1 else ["\n".join(texts) for texts in zip(*said, strict=True)])
        self.replies.extend(columns[-1])
        self.answers.extend(stripped[-1])
        self.systems.extend(lead or [""] * len(rows))
        self.wholes.extend([hash((roles, texts)) for texts in zip(*stripped, strict=True)])
        self.questions.extend(map(hash, zip(*keys, strict=True)))
        self.texts.extend([text for texts in zip(*columns, strict=True) for text in texts])
        self.owners.extend([place for place in range(first, first + len(rows)) for _ in roles])
        self.roles.extend(roles * len(rows))

    def _add(self, turns: list[tuple[str, str]], line: int, whole: int) -> None:
        place = len(self.lines)
        last = max((i for i, (role, _) in enumerate(turns) if role == "assistant"), default=len(turns))
        before = turns[:last]
        reply = turns[last][1] if last < len(turns) else ""
        self.lines.append(line)
        self.asked.append("\n".join([text for role, text in before if role not in parts.LEAD]))
        self.replies.append(reply)
        self.answers.append(reply.strip())
        self.systems.append(next((text for role, text in turns if role in parts.LEAD), ""))
        roles = tuple([role for role, _ in turns])
        self.wholes.append(whole or hash((roles, tuple([text.strip() for _, text in turns]))))
        self.questions.append(hash(tuple([" ".join(text.casefold().split()) for _, text in before])))
        for role, text in turns:
            if text:
                self.texts.append(text)
                self.owners.append(place)
                self.roles.append(role)

    @classmethod
    def of(cls, rows: Iterable[Row], lines: Iterable[int]) -> Batch:
        batch = cls()
        for row, line in zip(rows, lines, strict=True):
            batch.add(row, line)
        return batch

    def __len__(self) -> int:
        return len(self.lines)


_PLAIN = frozenset({"role", "content"})
_TOOLS = frozenset({"tools", "functions"})
