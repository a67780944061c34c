"""Near-duplicates among any number of texts: candidates by MinHash, each verified exactly, texts kept on disk.

Two texts are near-duplicates when the Jaccard similarity of their sets of character 5-grams reaches the threshold.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from executor.data import minhash
from executor.data.minhash import Ints, Texts
from executor.data.similar import BOILERPLATE, FEW, ROUNDING, THRESHOLD, normalised
from executor.data.spool import Segment, Spool

_SAMPLED = 2000
"""texts from which it is judged what belongs to a template around all of them"""
_ALL_PAIRS = 12
"""members of a bucket up to which every pair is looked at; in larger ones all against a few leaders"""
_LEADERS = 8
_LEAST_EQUAL = 22
"""equal signature places, of 36, below which a pair of similarity 0.8 is with probability 0.004"""
_SURELY = 28
"""equal places with which a member of a large bucket has found its leader"""
_CHUNK = 1 << 20
"""characters compared at a time"""
_THREADS = 2
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
T = TypeVar("T")
R = TypeVar("R")


class NearDuplicates:
    """Texts come batch by batch; what is kept in memory is about 250 bytes a text. Deterministic."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._spool = Spool()
        self._hashes = array("q")
        self.count = 0

    def add(self, texts: Sequence[str]) -> None:
        """Raises UserError where the temporary folder is full."""
        first = self.count
        self.count += len(texts)
        if "".join(texts).isascii():
            self._append(np.arange(first, self.count), texts, minhash.normalised_ascii(texts))
            return
        plain: dict[int, str] = {}
        other: dict[int, str] = {}
        for place, text in enumerate(texts, first):
            better = text if text.isascii() else normalised(text)
            (plain if better.isascii() else other)[place] = better
        self._hashes.extend(itertools.repeat(0, len(texts)))
        for group, make in ((plain, minhash.normalised_ascii), (other, minhash.wide)):
            if group:
                some = list(group.values())
                self._append(np.fromiter(group, np.int64, len(group)), some, make(some))

    def _append(self, places: Ints, texts: Sequence[str], made: Texts) -> None:
        data = self._spool.append(places, made)
        ends = np.cumsum(made.lengths) * made.codes.itemsize
        starts = ends - made.lengths * made.codes.itemsize
        hashes = [hash(data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        for i in np.flatnonzero(made.lengths == 0).tolist():
            # nothing but signs: equal only where it is the same text
            hashes[i] = hash((0, texts[i].strip()))
        if len(self._hashes) < self.count:
            self._hashes.extend(hashes)
            return
        for place, key in zip(places.tolist(), hashes, strict=True):
            self._hashes[place] = key

    def clusters(self) -> list[int]:
        """A cluster number for each text, by its first member; texts linked by a chain of near-duplicates share it."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left, right = self.links()
        graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(self.count, self.count))
        _, labels = connected_components(graph, directed=False)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[inverse].tolist()  # type: ignore[no-any-return]

    def links(self) -> tuple[Ints, Ints]:
        """Pairs of near-duplicates that together link every cluster, though not all pairs of a large one."""
        hashes = np.frombuffer(self._hashes, np.int64) if self.count else np.zeros(0, np.int64)
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        leader = first[inverse]
        again = np.flatnonzero(leader != np.arange(self.count))
        left, right = self._similar(np.sort(first))
        return np.concatenate([leader[again], left]), np.concatenate([again, right])

    def _similar(self, distinct: Ints) -> tuple[Ints, Ints]:
        self._spool.finish(self.count)
        boilerplate = self._boilerplate(distinct)
        found = self._signatures(boilerplate)
        kept = distinct[~minhash.is_empty(found[distinct])]
        short = (found & np.uint32(0xFF)).astype(np.uint8)
        pairs = _in_threads(lambda band: _candidates(minhash.bands(found, band), short, kept), range(minhash.BANDS))
        both = distinct_sorted(np.concatenate(pairs))
        left, right = both // max(1, self.count), both % max(1, self.count)
        alike = self._verified(left, right, boilerplate)
        return left[alike], right[alike]

    def _signatures(self, boilerplate: frozenset[str]) -> NDArray[np.uint32]:
        out = np.full((self.count, minhash.PLACES), 0xFFFFFFFF, np.uint32)
        ignored = minhash.grams(minhash.wide(sorted(boilerplate)))[0]

        def fill(part: Segment) -> None:
            some = part.lengths > 0
            if some.any():
                texts = Texts(self._spool.block(part).codes, part.lengths[some])
                out[part.places[some]] = minhash.signatures(texts, ignored)

        _in_threads(fill, self._spool.segments)
        return out

    def _boilerplate(self, distinct: Ints) -> frozenset[str]:
        """Grams in more than half of the texts (of a sample of them)."""
        if len(distinct) < FEW:
            return frozenset()
        sample = distinct[:: max(1, len(distinct) // _SAMPLED)]
        seen: dict[str, int] = {}
        for place in sample.tolist():
            for gram in gram_set(self._spool.text(place)):
                seen[gram] = seen.get(gram, 0) + 1
        return frozenset(gram for gram, n in seen.items() if n > BOILERPLATE * len(sample))

    def _verified(self, left: Ints, right: Ints, boilerplate: frozenset[str]) -> NDArray[np.bool_]:
        """Which pairs really reach the threshold."""
        alike = np.zeros(len(left), bool)
        wide = self._spool.is_wide(left) | self._spool.is_wide(right)
        for place in np.flatnonzero(wide).tolist():
            sets = [gram_set(self._spool.text(int(side[place]))) - boilerplate for side in (left, right)]
            sizes = np.array([len(sets[0] & sets[1]), len(sets[0]), len(sets[1])])
            alike[place] = _reaches(sizes[0], sizes[1], sizes[2], self._threshold)
        plain = np.flatnonzero(~wide)
        # pairs of one chunk are laid out as a rectangle, so those of like length go together
        plain = plain[np.argsort(self._spool.lengths(left[plain]) + self._spool.lengths(right[plain]))]
        ignored = np.sort(minhash.packed_grams(_ascii(boilerplate))[0])

        def judge(some: slice) -> None:
            places = plain[some]
            sides = [self._spool.plain(side[places]) for side in (left, right)]
            alike[places] = _reaches(*_shared(sides[0], sides[1], ignored), self._threshold)

        _in_threads(judge, self._spool.chunks(left[plain], right[plain], _CHUNK))
        return alike


def distinct_sorted(keys: NDArray[Any]) -> NDArray[Any]:
    """As `np.unique`, which takes a hash table for integers, several times slower than sorting here."""
    keys = np.sort(keys)
    first: NDArray[np.bool_] = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    return np.asarray(keys[first])


def gram_set(text: str) -> set[str]:
    return {text[i : i + minhash.GRAM] for i in range(max(1, len(text) - minhash.GRAM + 1))}


def _ascii(texts: frozenset[str]) -> Texts:
    chosen = sorted(text for text in texts if text.isascii())
    lengths = np.fromiter(map(len, chosen), np.int64, len(chosen))
    return Texts(np.frombuffer("".join(chosen).encode("ascii"), np.uint8), lengths)


def _reaches(shared: Ints, one: Ints, two: Ints, threshold: float) -> NDArray[np.bool_]:
    reached: NDArray[np.bool_] = (shared > 0) & (shared >= threshold * (one + two - shared) - ROUNDING)
    return reached


def _shared(left: Texts, right: Texts, ignored: NDArray[np.uint64]) -> tuple[Ints, Ints, Ints]:
    """For each pair of texts: grams in both, in the left one, in the right one.

    Each text is a row of a rectangle: short rows sort many times faster than one long array.
    """
    sides = [minhash.packed_grams(texts) for texts in (left, right)]
    width = max(int(counts.max()) for _, counts in sides)
    table = np.full((2, len(left.lengths), width), _NONE, np.uint64)
    for side, (grams, counts) in enumerate(sides):
        if len(ignored):
            grams = np.where(np.isin(grams, ignored), _NONE, grams)
        row = np.repeat(np.arange(len(counts)), counts)
        table[side, row, np.arange(len(grams)) - np.repeat(np.cumsum(counts) - counts, counts)] = grams
    table.sort(axis=2)
    table[:, :, 1:][table[:, :, 1:] == table[:, :, :-1]] = _NONE
    sizes = (table != _NONE).sum(axis=2)
    both = np.concatenate([table[0], table[1]], axis=1)
    both.sort(axis=1)
    shared = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != _NONE)).sum(axis=1)
    return shared, sizes[0], sizes[1]


def _in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results in order. numpy lets go of the interpreter while it computes."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def _candidates(keys: NDArray[np.uint32], short: NDArray[np.uint8], kept: Ints) -> Ints:
    """Pairs worth verifying among texts with an equal key, as left * texts + right."""
    own = keys[kept]
    order = np.argsort(own)
    members, ordered = kept[order], own[order]
    change = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(own)])
    sizes = np.diff(np.append(change, len(own)))
    size = np.repeat(sizes, sizes)
    found: list[Ints] = []
    for step in range(1, min(_ALL_PAIRS, len(own))):
        same = np.flatnonzero((ordered[step:] == ordered[:-step]) & (size[:-step] <= _ALL_PAIRS))
        if not len(same):
            break
        found.append(_equal_enough(members[same], members[same + step], short))
    for start, n in zip(change[sizes > _ALL_PAIRS].tolist(), sizes[sizes > _ALL_PAIRS].tolist(), strict=True):
        found += _to_leaders(members[start : start + n], short)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _equal_enough(left: Ints, right: Ints, short: NDArray[np.uint8]) -> Ints:
    equal = (short[left] == short[right]).sum(axis=1)
    fine = equal >= _LEAST_EQUAL
    pairs: Ints = left[fine] * len(short) + right[fine]
    return pairs


def _to_leaders(members: Ints, short: NDArray[np.uint8]) -> list[Ints]:
    found = []
    for _ in range(_LEADERS):
        leader, rest = members[0], members[1:]
        equal = (short[rest] == short[leader]).sum(axis=1)
        found.append(leader * len(short) + rest[equal >= _LEAST_EQUAL])
        members = rest[equal < _SURELY]
        if len(members) < 2:
            break
    return found
