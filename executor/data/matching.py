"""Which row of one file is which row of another, from their hashes alone."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executor.data.row_columns import Columns

Ints = NDArray[np.int64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: an odd number, so that multiples of it stay apart"""


@dataclass(frozen=True)
class Matched:
    """Places in the two files, each array in the order of the first (`added` in that of the second)."""

    same: tuple[Ints, Ints]
    changed: tuple[Ints, Ints]
    by_place: int
    """of the changed those known by their place alone"""
    removed: Ints
    added: Ints
    moved: tuple[Ints, Ints]
    """of the same those out of order: the fewest whose removal leaves the others in order"""


def match(one: Columns, other: Columns) -> Matched:
    """Equal rows first, then rows of the same name, then of the same question, then those in the same place.

    Of rows that are equal several times the first is matched with the first, and so on. Two rows are in the same
    place where they stand between the same matched rows, and there are equally many left over in both files.
    """
    partner = np.full(len(one.whole), -1, np.int64)
    taken = np.zeros(len(other.whole), bool)
    _pair(one.whole, other.whole, partner, taken)
    same = partner.copy()
    for key, other_key in ((one.key, other.key), (one.question, other.question)):
        _pair(key, other_key, partner, taken, unknown=0)
    before = int((partner >= 0).sum())
    _pair_places(partner, taken)
    places = np.arange(len(partner))
    changed = places[(partner >= 0) & (same < 0)]
    equal = places[same >= 0]
    out = equal[out_of_order(same[equal])]
    return Matched(
        same=(equal, same[equal]),
        changed=(changed, partner[changed]),
        by_place=int((partner >= 0).sum()) - before,
        removed=places[partner < 0],
        added=np.flatnonzero(~taken),
        moved=(out, same[out]),
    )


def _pair(keys: Ints, other_keys: Ints, partner: Ints, taken: NDArray[np.bool_], unknown: int | None = None) -> None:
    """Match what is still free by equal keys, the first of a key with the first."""
    free, other_free = np.flatnonzero(partner < 0), np.flatnonzero(~taken)
    if unknown is not None:
        free, other_free = free[keys[free] != unknown], other_free[other_keys[other_free] != unknown]
    left, right = _numbered(keys[free]), _numbered(other_keys[other_free])
    _, i, j = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    partner[free[i]] = other_free[j]
    taken[other_free[j]] = True


def _numbered(keys: Ints) -> NDArray[np.uint64]:
    """The keys, made different for the first, second, third … of the same."""
    if not len(keys):
        return np.zeros(0, np.uint64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(keys)))
    numbers = np.empty(len(keys), np.uint64)
    numbers[order] = (np.arange(len(keys)) - np.repeat(starts, sizes)).astype(np.uint64)
    return keys.view(np.uint64) + numbers * _GOLDEN


def _pair_places(partner: Ints, taken: NDArray[np.bool_]) -> None:
    if not taken.any():
        return
    free, other_free = np.flatnonzero(partner < 0), np.flatnonzero(~taken)
    if not len(free) or not len(other_free):
        return
    # the last matched row before each free one, in both files said as a place of the second
    before = _last_before(partner >= 0, free)
    anchor = np.where(before >= 0, partner[before], -1)
    other_anchor = _last_before(taken, other_free)
    gap, other_gap = _sizes(anchor), _sizes(other_anchor)
    width = len(partner) + len(taken) + 1
    left = (anchor + 1) * width + free - before
    right = (other_anchor + 1) * width + other_free - other_anchor
    _, i, j = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    fits = gap[i] == other_gap[j]
    partner[free[i[fits]]] = other_free[j[fits]]
    taken[other_free[j[fits]]] = True


def _last_before(matched: NDArray[np.bool_], places: Ints) -> Ints:
    """For each place the last matched one before it, or -1."""
    return np.maximum.accumulate(np.where(matched, np.arange(len(matched)), -1))[places]


def _sizes(anchors: Ints) -> Ints:
    """How many free rows stand behind the same matched row as each."""
    _, inverse, counts = np.unique(anchors, return_inverse=True, return_counts=True)
    return counts[inverse]


def out_of_order(places: Ints) -> NDArray[np.bool_]:
    """Which entries of distinct numbers do not belong to their longest increasing subsequence.

    Patience sorting (Fredman 1975, "On computing the length of longest increasing subsequences"): n log n.
    """
    out = np.zeros(len(places), bool)
    if len(places) < 2 or bool(np.all(places[1:] > places[:-1])):
        return out
    ends = array("q")
    lengths = array("q")
    """of the longest increasing subsequence that ends with each entry, less one"""
    for value in places.tolist():
        at = bisect_left(ends, value)
        if at == len(ends):
            ends.append(value)
        else:
            ends[at] = value
        lengths.append(at)
    wanted, bound = len(ends) - 1, np.iinfo(np.int64).max
    for i in range(len(places) - 1, -1, -1):
        value = int(places[i])
        if lengths[i] == wanted and value < bound:
            wanted, bound = wanted - 1, value
        else:
            out[i] = True
    return out
