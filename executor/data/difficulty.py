"""How difficult each example is likely to be to learn, from 0 (easiest of the set) to 1, for a curriculum."""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executor.data import structure_pass
from executor.data.batch import SIZE, Batch
from executor.data.convert import Builder, built_row
from executor.data.read import open_bytes
from executor.data.source import Record, Source
from executor.data.structure import row_problems
from executor.data.survey import block_records
from executor.data.task import Tally
from executor.errors import UserError

Floats = NDArray[np.float64]
COLUMN = "difficulty"
"""name under which the columns are kept with a version"""
_BUCKETS = 1 << 22
"""words are counted by hash, so that memory does not grow with the vocabulary"""
_MOST_WORDS = 1 << 18
"""words whose hash is remembered"""
_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Japanese and Chinese are written without spaces: each sign counts as a word"""
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+")

Batches = Callable[[], Iterable[Batch]]
"""reads the rows anew each time it is called"""


@dataclass(frozen=True)
class Difficulties:
    """Columns with one entry a row."""

    lines: NDArray[np.int64]
    difficulty: Floats
    """0 to 1"""
    length: NDArray[np.int64]
    """characters of input and answer"""
    rarity: Floats
    """mean inverse document frequency of the row's words, in nats"""
    label_rarity: Floats | None
    """ln(1 / share of the label), in nats; None where the answers are no closed set"""
    distance: Floats | None
    """as given; NaN where unknown"""
    loss: Floats | None
    """as given; NaN where unknown"""

    def rows(self) -> Iterator[dict[str, Any]]:
        """One object a row, in order, as `store.attach` takes them."""
        for place in range(len(self.lines)):
            yield {
                "line": int(self.lines[place]),
                "difficulty": round(float(self.difficulty[place]), 6),
                "length": int(self.length[place]),
                "rarity": round(float(self.rarity[place]), 6),
                "label_rarity": _number(self.label_rarity, place),
                "distance": _number(self.distance, place),
                "loss": _number(self.loss, place),
            }

    def order(self) -> NDArray[np.int64]:
        """Places from the easiest to the hardest; equals in the order of the file."""
        return np.argsort(self.difficulty, kind="stable")


def difficulty(
    batches: Batches,
    loss: Sequence[float | None] | None = None,
    distance: Sequence[float | None] | None = None,
) -> Difficulties:
    """Rank every row by what makes an example hard.

    difficulty(i) = mean over the known measures m of rank_m(i), where rank_m(i) = (number of rows below i, plus half
    of the others equal to it) / (n - 1), 0.5 where there is one row. The measures: characters of the input;
    characters of the answer; rarity(i) = mean over the distinct words w of ln(n / rows that hold w); for labels
    ln(1 / share of the label); and where given the distance to the nearest other rows and the loss of the base model.
    Length and rarity, mapped to 0..1 by their distribution in the set, are the measures of Platanios et al. 2019
    ("Competence-based curriculum learning for neural machine translation"); the frequency is that of Sparck Jones
    1972. A measure that is the same for all rows moves none. An unknown loss or distance (None, not finite) is left out
    of its row's mean.

    The rows are read twice, with about 80 bytes a row in memory. Raises UserError where a list does not fit the rows.
    """
    first = _Counted()
    for batch in batches():
        first.add(batch)
    rows = len(first.lines)
    measures = {"loss": _given("loss", loss, rows), "distance": _given("distance", distance, rows)}
    rarity = _rarity(batches, first.frequency, rows)
    asked, answered = (np.array(column, dtype=np.int64) for column in (first.asked, first.answered))
    label_rarity = first.label_rarity()
    known = [asked.astype(float), answered.astype(float), rarity, label_rarity, *measures.values()]
    return Difficulties(
        lines=np.array(first.lines, dtype=np.int64),
        difficulty=_mean_rank([each for each in known if each is not None], rows),
        length=asked + answered,
        rarity=rarity,
        label_rarity=label_rarity,
        distance=measures["distance"],
        loss=measures["loss"],
    )


def batches_of(source: Source, build: Builder, plain: bool = False) -> Batches:
    """The rows of a file that can be trained on, read anew at each call.

    `plain`: the rows are chat messages as they stand, so that the fast structure pass may be used.
    """

    def read() -> Iterator[Batch]:
        batch = Batch()
        source.unchanged()
        for piece in _pieces(source, plain):
            if isinstance(piece, structure_pass.Block) and piece.rows is not None:
                batch.add_plain(piece.rows, piece.numbers())
            else:
                _add_built(batch, [piece] if isinstance(piece, Record) else block_records(piece), build)
            if len(batch) >= SIZE:
                yield batch
                batch = Batch()
        source.unchanged()
        if len(batch):
            yield batch

    return read


def _pieces(source: Source, plain: bool) -> Iterator[Record] | Iterator[structure_pass.Block]:
    if plain and source.format == "jsonl" and source.encoding in ("utf-8", "utf-8-sig", "ascii"):
        return structure_pass.blocks(lambda: open_bytes(source.path), _is_sound)
    return source.records()


def _is_sound(roles: tuple[str, ...]) -> bool:
    return not row_problems({"messages": [{"role": role, "content": "x"} for role in roles]}, 1)


def _add_built(batch: Batch, records: Iterable[Record], build: Builder) -> None:
    for record in records:
        built = built_row(record, build) if record.row is not None else None
        if built is not None and built.row is not None:
            batch.add(built.row, built.line)


class _Counted:
    """What the first reading counts."""

    def __init__(self) -> None:
        self.lines = array("q")
        self.asked = array("q")
        self.answered = array("q")
        self.tally = Tally()
        self._labels: dict[str, int] = {}
        self._codes = array("q")
        """the number of each row's label, while they can be a closed set"""
        self.frequency = np.zeros(_BUCKETS, np.int32)
        """rows that hold a word of each hash"""

    def add(self, batch: Batch) -> None:
        self.lines.extend(batch.lines)
        self.asked.extend(map(len, batch.asked))
        self.answered.extend(map(len, batch.answers))
        self.tally.add(batch.answers)
        if self.tally.labels:
            self._codes.extend([self._labels.setdefault(answer, len(self._labels)) for answer in batch.answers])
        words, _ = _words_of(batch)
        np.add.at(self.frequency, words, 1)

    def label_rarity(self) -> Floats | None:
        if self.tally.task().kind != "label":
            return None
        codes = np.array(self._codes, dtype=np.int64)
        rarity: Floats = np.log(len(codes) / np.bincount(codes))[codes]
        return rarity


def _words_of(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(hashes of the distinct words of every row one after another, how many each row has)."""
    flat = array("q")
    counts = array("q")
    for asked, answer in zip(batch.asked, batch.answers, strict=True):
        words = set(_WORD.findall(f"{asked}\n{answer}".casefold()))
        flat.extend([_bucket(word) for word in words])
        counts.append(len(words))
    return np.array(flat, dtype=np.int64), np.array(counts, dtype=np.int64)


_KNOWN: dict[str, int] = {}


def _bucket(word: str) -> int:
    """The same in every process, unlike Python's own hash of a text."""
    found = _KNOWN.get(word)
    if found is None:
        found = zlib.crc32(word.encode("utf-8", "replace")) % _BUCKETS
        if len(_KNOWN) < _MOST_WORDS:
            _KNOWN[word] = found
    return found


def _rarity(batches: Batches, frequency: NDArray[np.int32], rows: int) -> Floats:
    """Mean inverse document frequency of each row; 0 for a row without words."""
    out = [np.zeros(0)]
    for batch in batches():
        words, counts = _words_of(batch)
        inverse = np.log(rows / frequency[words])
        sums = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=inverse, minlength=len(counts))
        # a set has no order, so that sums of the same words differ in their last digits, which would order equals
        out.append(np.round(sums / np.maximum(counts, 1), 9))
    return np.concatenate(out)


def _mean_rank(measures: Sequence[Floats], rows: int) -> Floats:
    total, known = np.zeros(rows), np.zeros(rows)
    for measure in measures:
        there = ~np.isnan(measure)
        total[there] += _ranks(measure[there])
        known += there
    return total / np.maximum(known, 1)


def _ranks(values: Floats) -> Floats:
    """(rows below + half of the others equal) / (n - 1); 0.5 where there is one."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks: Floats = (below + (counts - 1) / 2)[inverse] / (len(values) - 1)
    return ranks


def _given(name: str, values: Sequence[float | None] | None, rows: int) -> Floats | None:
    if values is None:
        return None
    if len(values) != rows:
        fix = "Measure it on the same version of the data."
        raise UserError(f"There are {len(values)} values of {name} for {rows} rows", name, fix)
    column = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _number(column: Floats | None, place: int) -> float | None:
    if column is None or not np.isfinite(column[place]):
        return None
    return round(float(column[place]), 6)
