"""Rows for a person to read, worst first, and a random few without a finding to estimate what the checks miss."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executor.data.batch import SIZE, Batch
from executor.data.convert import Builder, built_row
from executor.data.problem import Problem, has_error
from executor.data.quality import Judge, quality_judges
from executor.data.review_file import encoded, row_hash, with_own_lines
from executor.data.sample_choice import Rows, choose
from executor.data.source import Record, Source
from executor.data.structure import row_problems
from executor.data.survey import survey
from executor.data.task import Tally
from executor.errors import UserError
from executor.files import replacing

Row = dict[str, Any]
Ints = NDArray[np.int64]
Read = Callable[[], Iterable[tuple[Row, int]]]
"""reads (row, line) anew each time it is called; no two rows have the same line"""
_SHORTEST = 64
"""characters; the first length slice holds all below"""
_WIDTH = 4
"""each further length slice reaches so many times as far"""
_SHOWN = 60
"""characters of a label in a reason"""


@dataclass(frozen=True)
class Drawn:
    """A row to be read."""

    line: int
    why: str
    """why it was drawn"""
    problems: list[Problem]
    row: Row
    """as chat messages, or as it stands where it cannot become some"""
    control: bool = False
    """drawn at random from all rows without a finding"""

    def record(self) -> dict[str, Any]:
        """A line of the sample: `decision` and `note` are for the reader to fill in."""
        return {
            "line": self.line,
            "why": self.why,
            "decision": None,
            "note": None,
            "problems": [problem.model_dump() for problem in self.problems],
            "row": self.row,
            "control": self.control,
            "sha256": row_hash(self.row),
        }


class Flags:
    """Problems as they come, however many: 18 bytes each in memory, their words in a temporary file."""

    def __init__(self) -> None:
        self.lines = array("q")
        self.codes = array("H")
        """number of the code and severity"""
        self.names: dict[tuple[str, str], int] = {}
        """(code, severity) and its number"""
        self._offsets = array("q")
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._end = 0

    def __enter__(self) -> Flags:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._words.close()

    def add(self, problems: Iterable[Problem]) -> None:
        """Problems of the whole file belong to no row and are left out."""
        for problem in problems:
            if problem.line is None:
                continue
            words = [problem.code, problem.severity, problem.field, problem.message, problem.fix]
            self.lines.append(problem.line)
            self.codes.append(self.names.setdefault((problem.code, problem.severity), len(self.names)))
            self._offsets.append(self._end)
            self._end += self._words.write(json.dumps(words).encode() + b"\n")

    def of(self, lines: Collection[int]) -> dict[int, list[Problem]]:
        """The problems of these lines, errors first."""
        found: dict[int, list[Problem]] = {line: [] for line in lines}
        wanted = np.fromiter(lines, np.int64, len(lines))
        for place in np.flatnonzero(np.isin(np.array(self.lines, np.int64), wanted)).tolist():
            self._words.seek(self._offsets[place])
            code, severity, field, message, fix = json.loads(self._words.readline())
            line = self.lines[place]
            problem = Problem(code=code, severity=severity, line=line, field=field, message=message, fix=fix)
            found[line].append(problem)
        self._words.seek(self._end)
        return {line: sorted(problems, key=lambda each: each.severity) for line, problems in found.items()}


class Slices:
    """Which label and which length each sound row has; a judge that finds nothing. 13 bytes a row."""

    def __init__(self) -> None:
        self.lines = array("q")
        self._lengths = array("b")
        self._labels = array("i")
        self._numbers: dict[str, int] = {}
        self._tally = Tally()

    def add(self, batch: Batch) -> list[Problem]:
        self._tally.add(batch.answers)
        self.lines.extend(batch.lines)
        sizes = [len(asked) + len(answer) for asked, answer in zip(batch.asked, batch.answers, strict=True)]
        self._lengths.extend([_length_slice(size) for size in sizes])
        if self._tally.labels:
            numbers = self._numbers
            self._labels.extend([numbers.setdefault(answer, len(numbers)) for answer in batch.answers])
        return []

    def finish(self) -> list[Problem]:
        return []

    def columns(self) -> list[tuple[Ints, list[str]]]:
        """(number of the slice of each row, name of each slice), of labels where they are a closed set, of lengths."""
        lengths = np.array(self._lengths, np.int64)
        columns = [(lengths, [_length_name(number) for number in range(int(lengths.max(initial=0)) + 1)])]
        if self._tally.task().kind == "label":
            names = [f'label "{_snippet(label)}"' for label in self._numbers]
            columns.insert(0, (np.array(self._labels, np.int64), names))
        return columns


def draw(rows: Sequence[Row], lines: Sequence[int], problems: Iterable[Problem], n: int, seed: int = 0) -> list[Drawn]:
    """As `draw_from`, of rows in memory."""
    return draw_from(lambda: zip(rows, lines, strict=True), problems, n, seed)


def draw_from(read: Read, problems: Iterable[Problem], n: int, seed: int = 0) -> list[Drawn]:
    """`n` rows to read, worst first; at most as many as there are. The same for the same arguments.

    Rows with an error lead, then those with warnings, weighted by how grave these are and how rare the row's label and
    length are. Every code is drawn once before any is drawn again, the gravest first, then each label and length that
    is not there yet. At least a fifth of `n` is drawn at random from all rows without a finding, for
    `review.FaultRate`; these come last, in random order.

    The rows are read twice, with about 13 bytes a row and 18 bytes a problem in memory. Raises UserError for n < 1.
    """
    slices = Slices()
    with Flags() as flags:
        flags.add(problems)
        known = np.unique(np.array(flags.lines, np.int64))
        batch = Batch()
        for row, line in read():
            faults = row_problems(row, line)
            if not has_error(faults):
                batch.add(row, line)
            elif not _holds(known, line):
                flags.add(faults)
            if len(batch) >= SIZE:
                slices.add(batch)
                batch = Batch()
        slices.add(batch)
        return _drawn(read, slices, flags, n, seed)


def draw_file(
    source: Source, build: Builder, n: int, seed: int = 0, judges: Sequence[Judge] | None = None, plain: bool = False
) -> list[Drawn]:
    """As `draw_from`, of a file that is checked on the way by `judges`; None: by all that look at the quality.

    `plain`: the rows are chat messages as they stand. Raises UserError for n < 1, or where the file changes.
    """
    source = with_own_lines(source)
    slices = Slices()

    def read() -> Iterator[tuple[Row, int]]:
        return ((record.row, record.line) for record in source.records() if record.row is not None)

    with Flags() as flags:
        looking = [*(quality_judges() if judges is None else judges), slices]
        survey(source, build, judges=looking, plain=plain, sink=flags)
        return [replace(each, row=_chat(each, build)) for each in _drawn(read, slices, flags, n, seed)]


def write(path: Path, drawn: Iterable[Drawn]) -> None:
    """JSON lines for `review_file.read_sample`. Raises UserError where they cannot be written."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        out.writelines(f"{encoded(each.record())}\n" for each in drawn)


def _drawn(read: Read, slices: Slices, flags: Flags, n: int, seed: int) -> list[Drawn]:
    if n < 1:
        raise UserError(f"{n} rows cannot be drawn", "-n", "Draw at least one.")
    absent: set[int] = set()
    while True:
        lines, known = _known(slices, flags, absent)
        picks = [(int(lines[pick.place]), pick) for pick in choose(known, n, seed)]
        wanted = {line for line, _ in picks}
        rows = _rows_at(read, wanted)
        if len(rows) == len(wanted):
            break
        absent |= wanted - rows.keys()  # a problem may name a line that holds no row
    problems = flags.of(wanted)
    return [Drawn(line, pick.why, problems[line], rows[line], pick.control) for line, pick in picks]


def _rows_at(read: Read, wanted: Collection[int]) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for row, line in read():
        if line in wanted:
            rows.setdefault(line, row)
            if len(rows) == len(wanted):
                break
    return rows


def _known(slices: Slices, flags: Flags, absent: Collection[int]) -> tuple[Ints, Rows]:
    """(line of each row, sorted, what is known about the rows)."""
    sound, flagged = np.array(slices.lines, np.int64), np.array(flags.lines, np.int64)
    lines = np.setdiff1d(np.union1d(sound, flagged), np.fromiter(absent, np.int64, len(absent)))
    there = np.isin(flagged, lines)
    findings = np.stack((np.searchsorted(lines, flagged[there]), np.array(flags.codes, np.int64)[there]))
    places, codes = np.unique(findings, axis=1)
    columns: list[tuple[Ints, list[str]]] = []
    for numbers, names in slices.columns():
        column = np.full(len(lines), -1, np.int64)
        column[np.searchsorted(lines, sound)] = numbers
        columns.append((column, names))
    return lines, Rows(len(lines), places, codes, list(flags.names), columns)


def _chat(drawn: Drawn, build: Builder) -> Row:
    row = built_row(Record(drawn.line, drawn.row), build).row
    return drawn.row if row is None else row


def _holds(numbers: Ints, number: int) -> bool:
    place = int(np.searchsorted(numbers, number))
    return place < len(numbers) and int(numbers[place]) == number


def _length_slice(size: int) -> int:
    number = 0
    while size >= _SHORTEST:
        size //= _WIDTH
        number += 1
    return number


def _length_name(number: int) -> str:
    if number == 0:
        return f"shorter than {_SHORTEST} characters"
    low = _SHORTEST * _WIDTH ** (number - 1)
    return f"{low:,} to {low * _WIDTH - 1:,} characters long"


def _snippet(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
