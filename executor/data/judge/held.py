"""Findings about single rows that wait for the whole set: what most rows show is how the set is meant to be."""

from __future__ import annotations

from array import array

from executor.data.problem import Findings, Problem, warning

_SMALL = 20
"""rows; of fewer every one is named"""
_SNIPPET = 60


class Held:
    """Rows with one kind of fault, a few bytes each; the texts of the first messages are kept."""

    def __init__(self, code: str, general: str, fix: str) -> None:
        self.code = code
        self.general = general
        """what is wrong, for any row: "a placeholder was left unfilled" """
        self.fix = fix
        self.lines = array("q")
        self._roles = array("b")
        self._names: list[str] = []
        self._notes: list[str] = []

    def add(self, line: int, role: str, note: str = "") -> None:
        if role not in self._names:
            self._names.append(role)
        self.lines.append(line)
        self._roles.append(self._names.index(role))
        if len(self._notes) < Findings.KEPT:
            self._notes.append(note)

    def problems(self, rows: int, most: float = 0.5, least: int = _SMALL) -> list[Problem]:
        """One for each row; a single one for the set where more than the share `most` of the rows has it."""
        if not self.lines:
            return []
        hit = len(set(self.lines))
        if rows >= least and hit > most * rows:
            return [warning(self.code, f"{hit} of {rows} rows: {self.general}", self.fix)]
        found = []
        for place, (line, role) in enumerate(zip(self.lines, self._roles, strict=True)):
            note = self._notes[place] if place < len(self._notes) else ""
            found.append(warning(self.code, note or self.general, self.fix, line, self._names[role]))
        return found


def snippet(text: str) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(text[: 4 * _SNIPPET].split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"


def percent(part: float, whole: float) -> str:
    """A share in words: "97 %", one digit more where it would read 0 or 100."""
    share = 100 * part / whole if whole else 0.0
    rounded = f"{share:.0f}"
    return f"{share:.1f} %" if rounded in ("0", "100") and 0 < share < 100 else f"{rounded} %"
