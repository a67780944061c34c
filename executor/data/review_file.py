"""A sample on disk: drawn rows for a person to decide about, in a program or in any editor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from executor.data.problem import Problem
from executor.data.source import Record, Source
from executor.data.structure import row_problems
from executor.errors import UserError

Row = dict[str, Any]
Kind = Literal["keep", "drop", "edit"]
Key = tuple[int, str]
"""line of the data file, and hash of the row that stood there"""
KINDS: tuple[Kind, ...] = ("keep", "drop", "edit")
_REASONS = 5
"""reasons named in one message"""


class Decision(BaseModel):
    """One line of the journal."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    line: int
    """1-based line of the data file"""
    sha256: str
    """`row_hash` of the row that was drawn"""
    decision: Literal["keep", "drop", "edit", "undo"]
    """undo takes the last decision about this row back"""
    row: Row | None = None
    """of an edit: the row as it shall be"""
    note: str | None = None
    reviewer: str | None = None
    """as given by the reader; never guessed"""
    decided_at: str | None = None
    """ISO 8601, UTC; None where it was written into the sample by hand"""

    @property
    def key(self) -> Key:
        return self.line, self.sha256


class _Written(BaseModel):
    """One line of a sample, as a program or a person wrote it."""

    model_config = ConfigDict(extra="ignore")

    line: int
    row: Row
    why: str = ""
    problems: list[Problem] = []
    control: bool = False
    sha256: str | None = None
    decision: Kind | None = None
    note: str | None = None
    reviewer: str | None = None

    @field_validator("decision", mode="before")
    @classmethod
    def as_typed(cls, value: Any) -> Any:
        """Typed by hand: the case and the spaces around a word say nothing."""
        return (value.strip().casefold() or None) if isinstance(value, str) else value


@dataclass(frozen=True)
class Item:
    """A drawn row to be read."""

    line: int
    why: str
    """why it was drawn"""
    problems: list[Problem]
    row: Row
    """as it stands in the sample: edited where `written` is an edit"""
    sha256: str
    """of the row as it was drawn"""
    control: bool
    """drawn at random from the rows without a finding"""
    written: Decision | None
    """decided in the sample itself, by hand"""

    @property
    def key(self) -> Key:
        return self.line, self.sha256


def encoded(value: Any) -> str:
    """As JSON on one line that UTF-8 can hold. Raises UserError where it is nested too deeply."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, default=str)
    except RecursionError:
        raise UserError("A row is nested too deeply to be written", "", "Remove the row.") from None
    return text


def row_hash(row: Row) -> str:
    """SHA-256 of the row's JSON in hexadecimal digits; the order of keys does not count.

    The same before and after the row was written: as JSON has it, names are text and a date is text too.
    """
    return hashlib.sha256(json.dumps(json.loads(encoded(row)), sort_keys=True).encode()).hexdigest()


def journal_of(sample: Path) -> Path:
    """Where the decisions about a sample are kept."""
    return sample.with_name(f"{sample.name}.decisions.jsonl")


def read_sample(path: Path) -> list[Item]:
    """The drawn rows with what was decided by hand. Raises UserError that names the line to repair."""
    items: list[Item] = []
    seen: set[Key] = set()
    for number, line in lines_of(path):
        where = f"{path}, line {number}"
        try:
            item = _item(_Written.model_validate(json.loads(line)), where)
        except (ValueError, RecursionError) as wrong:
            raise UserError(_reason(wrong), where, "Repair that line, or draw the sample again.") from None
        if item.key in seen:
            raise UserError(f"The row of line {item.line} stands in it twice", where, "Remove one of the two.")
        seen.add(item.key)
        items.append(item)
    if not items:
        raise UserError(f"{path.name} holds no rows to review", str(path), "Draw some: finetune data sample.")
    return items


def _item(written: _Written, where: str) -> Item:
    shown = row_hash(written.row)
    original = written.sha256 or shown
    if original != shown and written.decision in (None, "keep"):
        fix = 'Write "decision": "edit" to use the changed row, or put the row back.'
        raise UserError("The row was changed, but its decision does not say edit", where, fix)
    row = written.row if written.decision == "edit" else None
    words = (written.note, written.reviewer)
    decision = decision_of((written.line, original), written.decision, row, *words) if written.decision else None
    return Item(written.line, written.why, written.problems, written.row, original, written.control, decision)


def decision_of(
    key: Key, kind: Kind, row: Row | None, note: str | None, reviewer: str | None, at: str | None = None
) -> Decision:
    return Decision(
        line=key[0], sha256=key[1], decision=kind, row=row, note=note or None, reviewer=reviewer or None, decided_at=at
    )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of each line that is not blank."""
    try:
        # other line ends, such as U+2028, are text
        with open(path, encoding="utf-8-sig", newline="\n") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except FileNotFoundError:
        raise UserError(f"There is no file {path.name}", str(path), "Draw one: finetune data sample.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is not UTF-8 text", str(path), "Save it as UTF-8.") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(f"Cannot read {path.name}: {reason}", str(path), "Check the path and its rights.") from None


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, ValidationError):
        first = wrong.errors()[0]
        field_name = ".".join(map(str, first["loc"])) or "the line"
        return f"Not a drawn row: {field_name}: {first['msg']}"
    return f"Not valid JSON: {wrong}" if isinstance(wrong, ValueError) else "Nested too deeply"


def faults(row: Any) -> list[Problem]:
    """What keeps an edited row from being trained on."""
    return [problem for problem in row_problems(row, None) if problem.severity == "error"]


def refuse(line: int, kind: Kind, row: Any) -> None:
    """Raises UserError, with the reasons, where the row that a decision leaves cannot be trained on."""
    found = faults(row) if kind != "drop" else []
    if found:
        reasons = "; ".join(problem.message for problem in found[:_REASONS])
        what = "The row cannot be kept as it is" if kind == "keep" else "The edited row cannot be trained on"
        raise UserError(f"{what}: {reasons}", f"line {line}", "Edit it or drop it.")


def with_own_lines(source: Source) -> Source:
    """The source itself, or, where rows share a line, one that gives the number of the row in place of the line."""
    if source.format not in ("json", "yaml"):
        return source  # each row begins on a line of its own, or is counted already
    last = 0
    for record in source.records():
        if record.line <= last:
            return replace(source, read=lambda: _numbered(source.read()))
        last = record.line
    return source


def _numbered(records: Iterator[Record]) -> Iterator[Record]:
    for number, (_, row, problem) in enumerate(records, 1):
        yield Record(number, row, problem.model_copy(update={"line": number}) if problem else None)
