"""A file split into train, validation and test files in two passes: first which row goes where, then the writing."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from executor.data.batch import SIZE
from executor.data.convert import Builder, Built, built_row
from executor.data.rows import answer, asked
from executor.data.source import Source
from executor.data.split import PARTS, Assigned, assign, check_ratios, joined
from executor.data.task import Tally
from executor.errors import UserError
from executor.files import replacing_all

Row = dict[str, Any]


@dataclass(frozen=True)
class SplitFiles:
    rows: dict[str, int]
    """of each part"""
    clusters: int
    leakage: int
    rejected: int
    """rows that could not be converted and are in no part"""


def split_file(
    source: Source,
    build: Builder,
    paths: dict[str, Path],
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    group_by: str | None = None,
) -> SplitFiles:
    """As `split`, for a file of any size: only a few numbers of each row are held in memory.

    All parts are written or none. Raises UserError where no row can be used, or the file changes meanwhile.
    """
    check_ratios(ratios)
    survey = _Survey(group_by)
    survey.read(source, build)
    if not survey.rows:
        raise UserError(
            "No row could be used; nothing was written", str(source.path), "Run `finetune data check` on it."
        )
    assigned = survey.assigned(ratios, seed)
    counts = _write(source, build, paths, assigned)
    return SplitFiles(counts, assigned.clusters, assigned.leakage, survey.rejected)


class _Survey:
    """What the first pass keeps of each row: its group, its answer's number, and its input for the search."""

    def __init__(self, group_by: str | None) -> None:
        self._group_by = group_by
        from executor.data.near import NearDuplicates  # numpy takes a tenth of a second

        self._near = NearDuplicates()
        self._tally = Tally()
        self._answers: dict[str, int] = {}
        self._numbers = array("l")
        self._groups: list[int | None] = []
        self.rows = 0
        self.rejected = 0

    def read(self, source: Source, build: Builder) -> None:
        inputs: list[str] = []
        answers: list[str] = []
        for built in built_rows(source, build):
            if built.row is None:
                self.rejected += 1
                continue
            inputs.append(asked(built.row))
            answers.append(answer(built.row))
            if self._group_by is not None:
                value = built.raw.get(self._group_by)
                self._groups.append(None if value in (None, "") else hash(str(value)))
            if len(inputs) >= SIZE:
                self._add(inputs, answers)
                inputs, answers = [], []
        self._add(inputs, answers)

    def _add(self, inputs: list[str], answers: list[str]) -> None:
        self.rows += len(inputs)
        self._near.add(inputs)
        self._tally.add(answers)
        # once there are too many answers for labels nothing is stratified, so their numbers are not needed
        if self._tally.labels:
            self._numbers.extend([self._answers.setdefault(text, len(self._answers)) for text in answers])

    def assigned(self, ratios: Sequence[float], seed: int) -> Assigned:
        cluster: Sequence[int] = self._near.clusters()
        if self._group_by is not None:
            cluster = joined(cluster, self._groups)
        names = list(self._answers)
        labelled = self._tally.task().kind == "label"
        strata = [names[number] for number in self._numbers] if labelled else [""] * self.rows
        return assign(cluster, strata, ratios, seed)


def built_rows(source: Source, build: Builder) -> Iterator[Built]:
    """Every row of a file, converted or rejected."""
    for record in source.records():
        if record.row is not None:
            yield built_row(record, build)


def _write(source: Source, build: Builder, paths: dict[str, Path], assigned: Assigned) -> dict[str, int]:
    counts = dict.fromkeys(PARTS, 0)
    with replacing_all([paths[name] for name in PARTS]) as temporaries, ExitStack() as stack:
        files: list[TextIO] = [stack.enter_context(open(path, "w", encoding="utf-8")) for path in temporaries]
        place = 0
        for built in built_rows(source, build):
            if built.row is None:
                continue
            part = assigned.parts[place]
            files[part].write(json.dumps(built.row, ensure_ascii=False) + "\n")
            counts[PARTS[part]] += 1
            place += 1
    return counts
