"""Cleaning that needs no judgement, every touched line recorded: spellings, duplicates, contradictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.data import labels, similar
from executor.data.rows import answer, asked, before_answer, grouped, question_key, whole_key, with_answer
from executor.data.task import describe

Row = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of the lineage: how many rows went in and out, and which lines of the file it touched."""

    name: str
    rows_in: int
    rows_out: int
    lines: list[int] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        return {"step": self.name, "rows_in": self.rows_in, "rows_out": self.rows_out, "lines": self.lines}


@dataclass(frozen=True)
class Cleaned:
    rows: list[Row]
    lines: list[int]
    steps: list[Step]


def clean(rows: Sequence[Row], lines: Sequence[int]) -> Cleaned:
    """Cut what follows the last reply, unify spellings of labels, drop later exact duplicates and conflicting answers.

    Of a conflict all sides go. Free text may be answered in several ways, so there nothing conflicts.
    """
    ended, cut = ending_with_reply(rows)
    cleaned = _unify(Cleaned(ended, list(lines), [Step("after_reply", len(rows), len(rows), [lines[i] for i in cut])]))
    cleaned = _without("duplicates", cleaned, _later_duplicates)
    if describe(cleaned.rows).kind == "text":
        return cleaned
    return _without("conflicts", cleaned, lambda rows: [place for group in conflicts(rows) for place in group])


def conflicts(rows: Sequence[Row]) -> list[list[int]]:
    """Positions of rows that ask the same and answer differently (spellings of one label do not differ)."""
    groups = grouped(question_key(row) for row in rows).values()
    return [group for group in groups if len({labels.key(answer(rows[place])) for place in group}) > 1]


def ending_with_reply(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """The rows cut after their last assistant message, which is what is learned and tested; and which changed."""
    out = [{**row, "messages": row["messages"][: len(before_answer(row)) + 1]} for row in rows]
    return out, [place for place, row in enumerate(rows) if len(out[place]["messages"]) < len(row["messages"])]


def respell(rows: Sequence[Row], better: dict[str, str]) -> tuple[list[Row], list[int]]:
    """The rows with each label in its better spelling, and the positions that changed."""
    changed = [place for place, row in enumerate(rows) if better.get(answer(row), answer(row)) != answer(row)]
    out = list(rows)
    for place in changed:
        out[place] = with_answer(rows[place], better[answer(rows[place])])
    return out, changed


def without_overlap(cleaned: Cleaned, test: Sequence[Row]) -> Cleaned:
    """The rows whose input does not occur, nor nearly, among the test rows."""
    others = [asked(row) for row in test]
    return _without("test_overlap", cleaned, lambda rows: similar.overlap([asked(row) for row in rows], others))


def _unify(cleaned: Cleaned) -> Cleaned:
    if describe(cleaned.rows).kind != "label":
        return cleaned
    rows, changed = respell(cleaned.rows, labels.spellings(answer(row) for row in cleaned.rows))
    step = Step("label_spelling", len(rows), len(rows), [cleaned.lines[place] for place in changed])
    return Cleaned(rows, cleaned.lines, [*cleaned.steps, step])


def _later_duplicates(rows: Sequence[Row]) -> list[int]:
    return [place for places in grouped(map(whole_key, rows)).values() for place in places[1:]]


def _without(name: str, cleaned: Cleaned, find: Callable[[Sequence[Row]], list[int]]) -> Cleaned:
    dropped = set(find(cleaned.rows))
    kept = [place for place in range(len(cleaned.rows)) if place not in dropped]
    step = Step(name, len(cleaned.rows), len(kept), [cleaned.lines[place] for place in sorted(dropped)])
    rows, lines = [cleaned.rows[place] for place in kept], [cleaned.lines[place] for place in kept]
    return Cleaned(rows, lines, [*cleaned.steps, step])
