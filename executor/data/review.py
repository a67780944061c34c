"""What a reader decides about drawn rows: each decision on disk at once, and later carried out on the whole file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from executor.data.review_apply import Applied, apply, apply_file
from executor.data.review_file import (
    KINDS,
    Decision,
    Item,
    Key,
    Kind,
    decision_of,
    encoded,
    faults,
    journal_of,
    lines_of,
    read_sample,
    refuse,
    row_hash,
)
from executor.errors import UserError
from executor.files import cannot_write

__all__ = [
    "KINDS", "Applied", "Decision", "FaultRate", "Item", "Kind", "Review", "apply", "apply_file", "faults",
]  # fmt: skip

Row = dict[str, Any]


class Review:
    """A sample and what was decided about it; every decision is on disk before `decide` returns.

    Where the journal and the sample itself both decide about a row, the journal counts.
    """

    def __init__(self, path: Path, reviewer: str | None = None) -> None:
        """Read sample and journal. Raises UserError where the sample cannot be read."""
        self.path = path
        self.journal = journal_of(path)
        self.reviewer = reviewer
        self.items = read_sample(path)
        self.unreadable = 0
        """lines of the journal that were skipped, such as one cut off by a crash"""
        self._places = {item.key: place for place, item in enumerate(self.items)}
        self._made: dict[Key, list[Decision]] = {item.key: [item.written] for item in self.items if item.written}
        self._order: list[Key] = []
        """of the decisions that can be undone, the last one last"""
        for decision in self._read_journal():
            self._take(decision)

    def _read_journal(self) -> Iterator[Decision]:
        for _, line in lines_of(self.journal) if self.journal.exists() else ():
            try:
                decision = Decision.model_validate(json.loads(line))
            except (ValueError, RecursionError):
                self.unreadable += 1
                continue
            yield decision

    def _take(self, decision: Decision) -> None:
        stack = self._made.setdefault(decision.key, [])
        if decision.decision != "undo":
            stack.append(decision)
            self._order.append(decision.key)
        elif decision.key in self._order:
            stack.pop()
            last = len(self._order) - 1 - self._order[::-1].index(decision.key)
            del self._order[last]

    @property
    def stale(self) -> list[int]:
        """Lines of decisions about rows that are not in the sample, or no longer as they were when it was decided."""
        return sorted(line for (line, sha), made in self._made.items() if made and (line, sha) not in self._places)

    def decision(self, place: int) -> Decision | None:
        """The decision that counts."""
        made = self._made.get(self.items[place].key)
        return made[-1] if made else None

    def decisions(self) -> list[Decision]:
        """Those that count, in the order of the sample."""
        return [made for place in range(len(self.items)) if (made := self.decision(place)) is not None]

    def counts(self) -> dict[str, int]:
        """How many rows are `keep`, `drop`, `edit` and `undecided`."""
        made = Counter(decision.decision for decision in self.decisions())
        return {**{kind: made[kind] for kind in KINDS}, "undecided": len(self.items) - made.total()}

    def next_undecided(self, after: int) -> int | None:
        """The place of the next row without a decision, from the start again behind the end."""
        places = [*range(after + 1, len(self.items)), *range(after + 1)]
        return next((place for place in places if self.decision(place) is None), None)

    def decide(self, place: int, kind: Kind, row: Row | None = None, note: str | None = None) -> Decision:
        """Write the decision down. Raises UserError where the row it leaves cannot be trained on, or the disk fails."""
        item = self.items[place]
        if kind == "keep" and row_hash(item.row) != item.sha256:
            kind, row = "edit", item.row  # what is shown was edited by hand, and that is what is kept
        if kind == "edit" and row is None:
            raise UserError("An edit needs the row as it shall be", f"line {item.line}", "Give the row.")
        refuse(item.line, kind, item.row if kind == "keep" else row)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        decision = decision_of(item.key, kind, row if kind == "edit" else None, note, self.reviewer, at)
        self._append(decision)
        return decision

    def annotate(self, place: int, note: str) -> Decision | None:
        """Put a note to the decision about a row; None where there is no decision yet."""
        made = self.decision(place)
        return self.decide(place, made.decision, made.row, note) if made and made.decision != "undo" else None

    def undo(self) -> int | None:
        """Take the last decision about a row of this sample back; its place, or None where there is none."""
        key = next((key for key in reversed(self._order) if key in self._places), None)
        if key is None:
            return None
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._append(Decision(line=key[0], sha256=key[1], decision="undo", reviewer=self.reviewer, decided_at=at))
        return self._places[key]

    def _append(self, decision: Decision) -> None:
        line = encoded(decision.model_dump(exclude_none=True)).encode() + b"\n"
        try:
            with open(self.journal, "a+b", buffering=0) as out:
                if out.seek(0, os.SEEK_END):
                    out.seek(-1, os.SEEK_END)
                    # a line that a crash cut off must not swallow this one
                    line = line if out.read(1) == b"\n" else b"\n" + line
                out.write(line)
                os.fsync(out.fileno())
        except OSError as error:
            raise cannot_write(self.journal, error) from error
        self._take(decision)

    def fault_rate(self) -> FaultRate:
        """Of the decided control rows those that were dropped or edited."""
        control = [self.decision(place) for place, item in enumerate(self.items) if item.control]
        made = [decision for decision in control if decision is not None]
        return FaultRate(sum(decision.decision != "keep" for decision in made), len(made), len(control))


class FaultRate(NamedTuple):
    """How many of the rows without a finding have a fault all the same, estimated from those drawn at random."""

    faults: int
    seen: int
    """control rows decided so far"""
    drawn: int

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the share; (0, 1) where none was read.

        Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22:209; for few rows
        it keeps to its level, unlike the normal approximation (Brown, Cai, DasGupta 2001, Statistical Science 16:101).
        """
        from executor.evaluate.statistics import wilson  # scipy takes half a second

        return wilson(self.faults, self.seen)

    def text(self) -> str:
        if not self.seen:
            return "No control row was decided yet, so nothing is known about the rows without a finding."
        low, high = self.interval()
        share = f"{self.faults / self.seen:.0%} (95 % interval {low:.1%} to {high:.1%})"
        drawn = "Of the rows drawn at random from those without a finding"
        return f"{drawn} {self.faults} of {self.seen} are faulty: {share}."
