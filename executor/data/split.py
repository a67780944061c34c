"""Train, validation and test rows that share no near-duplicate and no group, with each label in its proportion."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.data import similar
from executor.data.rows import answer, asked
from executor.data.task import describe
from executor.errors import UserError

Row = dict[str, Any]
PARTS = ("train", "validation", "test")
_CARRY = 1.0
"""rows that one label's rounding may pass on to the next"""


@dataclass(frozen=True)
class Split:
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    indexes: dict[str, list[int]]
    """positions in the input of each part's rows"""
    clusters: int
    """sets of rows that had to stay together (near-duplicates and groups)"""
    leakage: int
    """validation and test rows with a near-duplicate or their group in train: 0 by construction, counted anyway"""


def split(
    rows: Sequence[Row],
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Split:
    """Split chat rows; the same rows, ratios and seed give the same split.

    Near-duplicate inputs and rows of one group stay on one side. Where the answers are a closed set each label is
    split in the ratios, its largest cluster going to train. A part with a ratio above 0 stays empty only where there
    are not enough clusters. Raises UserError for ratios that are not three parts of a whole.
    """
    cluster = _clusters(rows, groups)
    assigned = assign(cluster, _strata(rows), ratios, seed)
    indexes = {name: [i for i, part in enumerate(assigned.parts) if part == k] for k, name in enumerate(PARTS)}
    train, validation, test = ([rows[i] for i in indexes[name]] for name in PARTS)
    return Split(train, validation, test, indexes, assigned.clusters, assigned.leakage)


@dataclass(frozen=True)
class Assigned:
    parts: list[int]
    """for each row the place in PARTS of the part it goes to"""
    clusters: int
    leakage: int


def assign(cluster: Sequence[int], strata: Sequence[str], ratios: Sequence[float], seed: int) -> Assigned:
    """The part of each row, given its cluster and its stratum (label). Raises UserError as `split` does."""
    check_ratios(ratios)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(cluster):
        members[number].append(place)
    part = _assigned(members, strata, ratios, random.Random(seed))  # noqa: S311
    _fill_empty(part, members, ratios)
    parts = [part[number] for number in cluster]
    trained = {number for number, chosen in zip(cluster, parts, strict=True) if chosen == 0}
    leakage = sum(number in trained for number, chosen in zip(cluster, parts, strict=True) if chosen != 0)
    return Assigned(parts, len(members), leakage)


def check_ratios(ratios: Sequence[float]) -> None:
    if len(ratios) != 3 or min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-6 or ratios[0] <= 0:
        raise UserError(
            f"The ratios {', '.join(map(str, ratios))} are not a split",
            "ratios",
            "Give train, validation and test as three numbers that add up to 1, such as .8,.1,.1.",
        )


def _clusters(rows: Sequence[Row], groups: Sequence[Hashable] | None) -> list[int]:
    near = similar.clusters([asked(row) for row in rows])
    return joined(near, groups) if groups is not None else near


def joined(cluster: Sequence[int], groups: Sequence[Hashable]) -> list[int]:
    """Cluster numbers where rows of one group share a cluster too; None and "" are no group."""
    parents = similar.Parents(len(cluster))
    leader: dict[int, int] = {}
    first: dict[Hashable, int] = {}
    for place, (number, group) in enumerate(zip(cluster, groups, strict=True)):
        parents.join(leader.setdefault(number, place), place)
        if group is not None and group != "":
            parents.join(first.setdefault(group, place), place)
    return parents.numbers()


def _strata(rows: Sequence[Row]) -> list[str]:
    """The label of each row where answers are a closed set, else one stratum."""
    labelled = describe(rows).kind == "label"
    return [answer(row) if labelled else "" for row in rows]


def _assigned(
    members: Mapping[int, list[int]], strata: Sequence[str], ratios: Sequence[float], rng: random.Random
) -> dict[int, int]:
    """The part of each cluster: within a stratum each goes where most rows are still missing."""
    by_stratum: defaultdict[str, list[int]] = defaultdict(list)
    for number, places in members.items():
        by_stratum[strata[places[0]]].append(number)
    part: dict[int, int] = {}
    missing = [0.0, 0.0, 0.0]
    for stratum in sorted(by_stratum):
        numbers = by_stratum[stratum]
        rng.shuffle(numbers)
        numbers.sort(key=lambda number: -len(members[number]))
        size = sum(len(members[number]) for number in numbers)
        missing = [max(-_CARRY, min(_CARRY, left)) + ratio * size for left, ratio in zip(missing, ratios, strict=True)]
        for position, number in enumerate(numbers):
            # the first to train: a label that is only tested cannot be learned
            open_parts = [k for k in range(3) if ratios[k] > 0]
            chosen = max(open_parts, key=lambda k: missing[k]) if position else 0
            part[number] = chosen
            missing[chosen] -= len(members[number])
    return part


def _fill_empty(part: dict[int, int], members: Mapping[int, list[int]], ratios: Sequence[float]) -> None:
    """Give a part that got nothing the smallest cluster of the part with the most clusters."""
    for k in (0, 2, 1):
        if ratios[k] <= 0 or k in part.values():
            continue
        owned = [[number for number in part if part[number] == other] for other in range(3)]
        richest = max(owned, key=len)
        if len(richest) > 1:
            part[min(richest, key=lambda number: (len(members[number]), -number))] = k
