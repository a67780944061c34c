"""Test rows that were trained on: a few are an accident, many make the score a measure of memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import asked
from executor.errors import UserError

Row = dict[str, Any]
LEAST, LEAST_SHARE = 3, 0.02
"""test rows that also stand in the training file, and their share, from which on it is no accident: of Banking77's own
test rows 0.2 % do"""


def shared_lines(rows: Sequence[Row], lines: Sequence[int], others: Sequence[Row]) -> list[int]:
    """Lines of the rows that ask, to the letter but for casing and spacing, what another row asks."""
    keys = set(map(_key, others))
    return [line for row, line in zip(rows, lines, strict=True) if _key(row) in keys]


def refuse_planted(lines: Sequence[int], tested: int, what: str, path: Path, instead: str) -> None:
    """Raises UserError where `lines` are too many for `tested` test rows.

    Whoever tests on what was trained hardly knows it, and would not trust the score. `what` follows their number.
    """
    if len(lines) >= LEAST and len(lines) >= LEAST_SHARE * tested:
        shown = ", ".join(map(str, lines[:5])) + (" ..." if len(lines) > 5 else "")
        fix = f"A test of what was trained on measures memory. Remove them, or {instead}: --drop-overlap."
        raise UserError(f"{len(lines)} rows of {what} (lines {shown})", str(path), fix)


def _key(row: Row) -> str:
    return " ".join(asked(row).casefold().split())
