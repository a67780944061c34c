"""Near-duplicate texts: exact Jaccard similarity over character 5-grams, without comparing all pairs.

The search is a prefix-filtered set join (Bayardo, Ma & Srikant 2007, "Scaling up all pairs similarity search"): two
sets can only reach the threshold when they share one of their rarest grams.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

THRESHOLD = 0.8
_GRAM = 5
BOILERPLATE = 0.5
"""a gram in more than this share of the texts belongs to a template around them and says nothing"""
FEW = 20
"""below this many texts nothing is taken for a template"""
ROUNDING = 1e-9
_WORDS = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Letters and digits only, casefolded; the stripped text itself where there are none (an emoji, "???")."""
    return _WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text.strip()


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """A cluster number for each text; texts linked by a chain of near-duplicates share it."""
    parents = Parents(len(texts))
    for left, right in pairs(texts, threshold):
        parents.join(left, right)
    return parents.numbers()


def pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """(i, j), i < j, of near-duplicates. Of texts that are equal once normalised, each is paired with the first."""
    first: dict[str, int] = {}
    found: list[tuple[int, int]] = []
    for i, text in enumerate(texts):
        earlier = first.setdefault(normalised(text), i)
        if earlier != i:
            found.append((earlier, i))
    places = list(first.values())
    for left, right in _similar_sets(_gram_sets(list(first)), threshold):
        i, j = sorted((places[left], places[right]))
        found.append((i, j))
    return sorted(found)


def overlap(texts: Sequence[str], others: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """Positions of the texts that are near-duplicates of any of the others."""
    keys = [normalised(text) for text in texts]
    other_keys = {normalised(text) for text in others}
    unique = list(dict.fromkeys([*keys, *sorted(other_keys)]))
    near = set(other_keys)
    for left, right in _similar_sets(_gram_sets(unique), threshold):
        if unique[left] in other_keys or unique[right] in other_keys:
            near |= {unique[left], unique[right]}
    return [place for place, key in enumerate(keys) if key in near]


def _gram_sets(texts: list[str]) -> list[list[int]]:
    """Each text's grams as numbers, rarest first."""
    sets = [{text[i : i + _GRAM] for i in range(max(1, len(text) - _GRAM + 1))} for text in texts]
    frequency = Counter(gram for grams in sets for gram in grams)
    limit = BOILERPLATE * len(texts) if len(texts) >= FEW else len(texts)
    kept = sorted((gram for gram, count in frequency.items() if count <= limit), key=lambda g: (frequency[g], g))
    rank = {gram: number for number, gram in enumerate(kept)}
    return [sorted(rank[gram] for gram in grams if gram in rank) for grams in sets]


def _similar_sets(sets: list[list[int]], threshold: float) -> list[tuple[int, int]]:
    order = sorted(range(len(sets)), key=lambda i: (len(sets[i]), i))
    whole = [set(grams) for grams in sets]
    index: defaultdict[int, list[int]] = defaultdict(list)
    found: list[tuple[int, int]] = []
    for i in order:
        size = len(sets[i])
        if not size:
            continue
        shortest = math.ceil(threshold * size - ROUNDING)
        prefix = sets[i][: size - shortest + 1]
        for j in {j for gram in prefix for j in index[gram] if len(sets[j]) >= shortest}:
            shared = len(whole[i] & whole[j])
            if shared >= threshold * (size + len(sets[j]) - shared) - ROUNDING:
                found.append((j, i))
        for gram in prefix:
            index[gram].append(i)
    return found


class Parents:
    """Disjoint sets of 0 … n-1."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        low, high = sorted((self.root(i), self.root(j)))
        self._parent[high] = low

    def numbers(self) -> list[int]:
        """0, 1, 2 … for each set, by its first member."""
        seen: dict[int, int] = {}
        return [seen.setdefault(self.root(i), len(seen)) for i in range(len(self._parent))]
