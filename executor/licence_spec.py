"""What the licences of base model, data and teacher ask of the tuned model: a part of the spec of a run."""

from __future__ import annotations

from typing import Literal

from executor.spec_part import Part

Severity = Literal["ok", "warning", "blocked", "unknown"]
"""`blocked`: as read, it may not be passed on; `warning`: under conditions; `unknown`: nobody read it"""


class Finding(Part):
    """One thing that follows, as the terms were read on a day. Never legal advice."""

    severity: Severity
    about: Literal["base", "data", "teacher", "together"]
    text: str
    source: tuple[str, ...] = ()


class LicenceSpec(Part):
    base: str | None = None
    """the base model's licence; None: not known"""
    base_from: str | None = None
    """where it was found"""
    data: str | None = None
    """the licence of the training rows; None: not stated"""
    data_from: str | None = None
    teacher: str | None = None
    """the model that wrote the answers, where one was named"""
    findings: tuple[Finding, ...] = ()
    result: str = "unknown"
    """the licence that the tuned model can carry, as the hub spells it"""
    result_name: str | None = None
    """of a licence that the hub has no word for"""
    begins: tuple[str, ...] = ()
    """how the name must begin under which it is passed on"""
    shown: tuple[str, ...] = ()
    """words that must be shown beside it"""
    credit: bool = False
    """whether the source of the data must be named"""
    read_on: str | None = None
    """the oldest day on which one of these terms was read"""

    @property
    def blocked(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "blocked")

    @property
    def unclear(self) -> Finding | None:
        """What keeps it from being known what the model may carry."""
        found = next((finding for finding in self.findings if finding.severity == "unknown"), None)
        return found if self.result == "unknown" else None

    @property
    def sources(self) -> set[str]:
        """The ids of everything that the findings rest on."""
        return {source for finding in self.findings for source in finding.source}

    @property
    def open(self) -> tuple[Finding, ...]:
        """Everything that is not plainly in order, the worst first."""
        rank = ("blocked", "warning", "unknown")
        return tuple(sorted((f for f in self.findings if f.severity != "ok"), key=lambda f: rank.index(f.severity)))
