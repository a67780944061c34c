"""A problem found in data: what, where (line and field), and how to repair it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning"]


class Problem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    code: str
    """snake_case, stable"""
    severity: Severity
    line: int | None = None
    """1-based line of the file; None: the whole file"""
    field: str | None = None
    """column or role"""
    message: str
    fix: str

    def as_warning(self) -> Problem:
        return self.model_copy(update={"severity": "warning"})


def error(code: str, message: str, fix: str, line: int | None = None, field: str | None = None) -> Problem:
    return Problem(code=code, severity="error", line=line, field=field, message=message, fix=fix)


def warning(code: str, message: str, fix: str, line: int | None = None, field: str | None = None) -> Problem:
    return Problem(code=code, severity="warning", line=line, field=field, message=message, fix=fix)


def counts(problems: Iterable[Problem]) -> dict[str, int]:
    """`{"error": n, "warning": n}`."""
    totals = {"error": 0, "warning": 0}
    for problem in problems:
        totals[problem.severity] += 1
    return totals


def has_error(problems: Iterable[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """Errors first, then by line; problems of the whole file lead."""
    return sorted(problems, key=lambda p: (p.severity != "error", p.line or 0, p.code))


class Findings:
    """Problems as they come: all are counted, of each code the first are kept, so that memory has a limit."""

    KEPT = 10_000

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._codes: Counter[tuple[str, Severity]] = Counter()

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            key = (problem.code, problem.severity)
            self._codes[key] += 1
            if self._codes[key] <= self.KEPT:
                self._kept.append(problem)

    def problems(self) -> list[Problem]:
        """Those kept, errors first, then by line; and for each code with more a line that says so."""
        kept = in_file_order(self._kept)
        for (code, severity), n in sorted(self._codes.items()):
            if n > self.KEPT:
                message = f"{n - self.KEPT} more problems of the kind {code} are counted, but not listed"
                kept.append(Problem(code=code, severity=severity, message=message, fix="Repair the listed ones first."))
        return kept

    def counts(self) -> dict[str, int]:
        """`{"error": n, "warning": n}`, the ones not kept included."""
        totals = {"error": 0, "warning": 0}
        for (_, severity), n in self._codes.items():
            totals[severity] += n
        return totals

    def codes(self) -> dict[str, int]:
        """How often each code occurs."""
        totals: Counter[str] = Counter()
        for (code, _), n in self._codes.items():
            totals[code] += n
        return dict(sorted(totals.items()))

    @property
    def valid(self) -> bool:
        return self.counts()["error"] == 0
