"""Which rows a person should read: the worst, one of every kind, and a random few without a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from executor.data.repairs import SAFE

Ints = NDArray[np.int64]
CONTROL = 5
"""one row in so many is drawn at random from those without a finding"""
_GRAVE = (
    "conflicting_answers", "off_format", "pii", "placeholder", "refusal", "repetition", "secret", "template_tokens",
    "truncated_answer",
)  # fmt: skip
"""beginnings of the codes of warnings that teach something false or give something away"""


class Pick(NamedTuple):
    place: int
    """of the row in the columns"""
    why: str
    control: bool


@dataclass
class Rows:
    """What is known about the rows of a file; a row is named by its place in the columns."""

    count: int
    flagged: Ints
    """place of each finding's row, each code at most once a row"""
    flag: Ints
    """number of the code of each finding"""
    codes: Sequence[tuple[str, str]]
    """(code, severity) of each number"""
    slices: Sequence[tuple[Ints, Sequence[str]]]
    """number of the slice of each row, -1 for none, and the name of each slice"""
    bad: Ints = field(init=False)
    """places with a finding"""

    def __post_init__(self) -> None:
        self.bad = np.unique(self.flagged)


def choose(rows: Rows, n: int, seed: int) -> list[Pick]:
    """At most `n` rows in the order of reading, the same for the same seed."""
    random = np.random.default_rng(seed)
    rank = _ranks(rows, random)
    clean = random.permutation(np.setdiff1d(np.arange(rows.count), rows.bad))
    size = len(clean) if n >= rows.count else max(n // CONTROL, n - len(rows.bad) - _present(rows))
    # the size does not look at which rows came first in the permutation: they stay a random sample
    control, spare = clean[:size].tolist(), clean[size:]
    taken = dict.fromkeys(control, f"control: drawn at random from {len(clean):,} rows without a finding")
    rounds = _rounds(rows, rank, taken)
    for place, why in chain(next(rounds, []), _uncovered(rows, rank, spare, taken), chain.from_iterable(rounds)):
        if len(taken) >= n:
            break
        taken.setdefault(place, why)
    for place in spare[:n].tolist() if len(taken) < n else ():
        if len(taken) < n:
            taken.setdefault(place, "another row without a finding")
    last = set(control)
    ranked = sorted(taken.keys() - last, key=lambda place: int(rank[place]))
    return [Pick(place, taken[place], place in last) for place in (*ranked, *control)]


def _present(rows: Rows) -> int:
    """How many slices have a row."""
    return sum(len(np.unique(column[column >= 0])) for column, _ in rows.slices)


def _ranks(rows: Rows, random: np.random.Generator) -> Ints:
    """Place of each row in the order from worst to best: those with an error, then by the sum of weights and rarity.

    The weights only order the rows for a reader; they are the product's own and no measurement.
    """
    weights = np.array([weight(code, severity) for code, severity in rows.codes], dtype=float)
    errors = np.array([severity == "error" for _, severity in rows.codes], dtype=float)
    grave = np.bincount(rows.flagged, weights[rows.flag], rows.count) * (1 + _rarity(rows))
    broken = np.bincount(rows.flagged, errors[rows.flag], rows.count) > 0
    order = np.lexsort((random.permutation(rows.count), -grave, ~broken))
    rank = np.empty(rows.count, np.int64)
    rank[order] = np.arange(rows.count)
    return rank


def weight(code: str, severity: str) -> float:
    if severity == "error" or code.startswith(_GRAVE):
        return 3.0
    return 1.0 if code in SAFE or code == "near_duplicate" else 2.0  # a program can settle these without a reader


def _rarity(rows: Rows) -> NDArray[np.float64]:
    """Surprisal of the row's rarest slice, ln(rows / rows of the slice) / ln(rows): 0 for all alike, 1 for one."""
    rarity = np.zeros(rows.count)
    for column, names in rows.slices:
        counts = np.bincount(column[column >= 0], minlength=len(names) + 1)
        surprisal = np.log(max(1, counts.sum()) / np.maximum(counts, 1)) / np.log(max(2, counts.sum()))
        rarity = np.maximum(rarity, np.where(column >= 0, surprisal[column], 0.0))
    return rarity


def _rounds(rows: Rows, rank: Ints, taken: Mapping[int, str]) -> Iterator[list[tuple[int, str]]]:
    """Round by round the worst row of each code that was not drawn yet, the gravest code first.

    In the first round a code that a drawn row shows already is passed over.
    """
    order = np.lexsort((rank[rows.flagged], rows.flag))
    counts = np.bincount(rows.flag, minlength=len(rows.codes))
    groups = np.split(rows.flagged[order], np.cumsum(counts)[:-1]) if len(rows.codes) else []
    waiting = {code: iter(groups[code]) for code in _gravest_first(rows.codes, counts) if counts[code]}
    shown: set[int] | None = set()
    while waiting:
        found: dict[int, str] = {}
        for code, places in list(waiting.items()):
            if shown is not None and code in shown:
                continue
            place = next((int(place) for place in places if int(place) not in taken and int(place) not in found), None)
            if place is None:
                del waiting[code]
                continue
            name, severity = rows.codes[code]
            found[place] = f"{severity} {name}, which {_rows(int(counts[code]))}"
            if shown is not None:
                shown.update(rows.flag[rows.flagged == place].tolist())
        shown = None
        yield list(found.items())


def _gravest_first(codes: Sequence[tuple[str, str]], counts: Ints) -> list[int]:
    def order(code: int) -> tuple[bool, float, int]:
        name, severity = codes[code]
        return severity != "error", -weight(name, severity), int(counts[code])

    return sorted(range(len(codes)), key=order)


def _uncovered(rows: Rows, rank: Ints, spare: Ints, taken: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """A row of each slice that none of the drawn is in, the rarest first: the worst with a finding, else any."""
    worst = rows.bad[np.argsort(rank[rows.bad])]
    for column, names in rows.slices:
        numbers, counts = np.unique(column[column >= 0], return_counts=True)
        of_worst, of_spare = column[worst], column[spare]
        for at in np.argsort(counts, kind="stable").tolist():
            number = int(numbers[at])
            if number in set(column[list(taken)].tolist()):
                continue
            found = worst[of_worst == number] if (of_worst == number).any() else spare[of_spare == number]
            if len(found):
                yield int(found[0]), f"{names[number]}, which {_rows(int(counts[at]))}"


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"
