"""A problem found in data: what, where (line and field), and how to repair it."""

from __future__ import annotations

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
