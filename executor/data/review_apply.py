"""Decisions carried out: dropped rows go, edited ones are replaced, and every row touched is in a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.data.convert import Builder, built_row
from executor.data.problem import Problem
from executor.data.review_file import Decision, encoded, refuse, row_hash, with_own_lines
from executor.data.source import Source
from executor.errors import UserError
from executor.files import replacing_all, sha256_file

Row = dict[str, Any]
_SHOWN = 5
"""lines named in one message"""


@dataclass
class Applied:
    """The row equation holds: rows in = rows + removed."""

    rows: list[Row] = field(default_factory=list)
    removed: int = 0
    changed: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    """a line for each row touched: its line, what was done, by which decision; never the text"""


def apply(rows: Sequence[Row], decisions: Iterable[Decision], lines: Sequence[int] | None = None) -> Applied:
    """Carry decisions out; `lines` are those of the file (without: 1, 2, …), and a row without a decision stays.

    Raises UserError, before anything is done, where an edited row cannot be trained on or where a decision is about a
    row that is not there as it was.
    """
    carry = Carrying(decisions)
    out = Applied()
    for row, line in zip(rows, lines or range(1, len(rows) + 1), strict=True):
        better, entry = carry.out(row, line)
        if better is not None:
            out.rows.append(better)
        out.removed += better is None
        out.changed += bool(entry) and better is not None
        out.log.extend([entry] if entry else [])
    carry.finish()
    return out


class Carrying:
    """Decisions carried out row by row: `out` for each row of the file, then `finish`."""

    def __init__(self, decisions: Iterable[Decision]) -> None:
        """Raises UserError where an edited row cannot be trained on."""
        self._left: dict[int, Decision] = {}
        self._stale: list[int] = []
        for decision in decisions:
            earlier = self._left.get(decision.line, decision)
            self._stale += [decision.line] if earlier.sha256 != decision.sha256 else []
            self._left[decision.line] = decision
        for decision in self._left.values():
            if decision.decision == "edit":
                refuse(decision.line, "edit", decision.row)

    def out(self, row: Row, line: int, problems: Sequence[Problem] = ()) -> tuple[Row | None, dict[str, Any] | None]:
        """(the row as it shall be or None, a line of the log where it was touched).

        `problems`: what keeps the row from being trained on as it stands; without a decision it is then removed.
        Raises UserError where such a row was to be kept.
        """
        decision = self._left.pop(line, None)
        if decision is None:
            entry = {"line": line, "action": "removed", "codes": [problems[0].code]} if problems else None
            return (None if problems else row), entry
        if row_hash(row) != decision.sha256:
            self._stale.append(line)
            return row, None
        if decision.decision == "keep":
            refuse(line, "keep", row)
            return row, None
        better = decision.row if decision.decision == "edit" else None
        if better == row:
            return row, None
        words = decision.model_dump(include={"note", "reviewer", "decided_at"}, exclude_none=True)
        action = "removed" if better is None else "changed"
        return better, {"line": line, "action": action, "codes": [f"review_{decision.decision}"], **words}

    def finish(self) -> None:
        """Raises UserError where a decision is about a row that is not there as it was."""
        stale = sorted({*self._stale, *self._left})
        if stale:
            shown = ", ".join(map(str, stale[:_SHOWN])) + (", …" if len(stale) > _SHOWN else "")
            what = f"{len(stale)} of the rows decided about are not in the file as they were when the sample was drawn"
            fix = "Give the file that the sample was drawn from, or draw a new sample. Nothing was written."
            raise UserError(what, f"lines {shown}", fix)


@dataclass(frozen=True)
class AppliedFile:
    """The row equation holds: in_rows = out_rows + removed."""

    in_rows: int
    out_rows: int
    removed: int
    changed: int
    sha256: str


def apply_file(source: Source, build: Builder, decisions: Iterable[Decision], out: Path, log: Path) -> AppliedFile:
    """Write the chat rows of `source` as decided; a row that cannot be trained on and has no decision is removed.

    `log` gets a JSON line for each row touched. Both files are written or none. Raises UserError as `apply`, or where
    no row would be left, or where the file changes meanwhile.
    """
    source = with_own_lines(source)
    carry = Carrying(decisions)
    counts = {"in": 0, "out": 0, "changed": 0}
    with replacing_all([log, out]) as (log_file, out_file):
        with open(out_file, "w", encoding="utf-8") as rows, open(log_file, "w", encoding="utf-8") as touched:
            for record in source.records():
                if record.row is None:
                    continue
                built = built_row(record, build)
                problems = built.problems if built.row is None else []
                row, entry = carry.out(built.raw if built.row is None else built.row, record.line, problems)
                counts["in"] += 1
                counts["out"] += row is not None
                counts["changed"] += entry is not None and row is not None
                rows.write(f"{encoded(row)}\n" if row is not None else "")
                touched.write(f"{encoded(entry)}\n" if entry is not None else "")
        carry.finish()
        if not counts["out"]:
            raise UserError("No row would be left; nothing was written", str(source.path), "Drop fewer rows.")
    return AppliedFile(counts["in"], counts["out"], counts["in"] - counts["out"], counts["changed"], sha256_file(out))
