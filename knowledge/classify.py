"""Which label a short text has, learnt from labelled examples at first use: naive Bayes over words and word pairs.

Naive Bayes, for it learns from two thousand examples in a tenth of a second, so that no weights have to be kept.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

import Stemmer

_TOKEN = re.compile(r"[a-z0-9]+(?:[._+-][a-z0-9]+)*|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[?!:]")

L = TypeVar("L", bound=str)


class Classifier(Generic[L]):
    """Complement naive Bayes (Rennie et al., 2003): each label is judged by what the other labels' texts look like."""

    def __init__(self, examples: Mapping[L, Sequence[str]], alpha: float = 0.1) -> None:
        """`alpha` is added to every count (Lidstone); more of it trusts rare words less."""
        counts: dict[L, Counter[str]] = {}
        for label, texts in examples.items():
            counts[label] = Counter(feature for text in texts for feature in features(text))
        total = Counter[str]()
        for counter in counts.values():
            total.update(counter)
        self.weights: dict[L, defaultdict[str, float]] = {}
        self.known = frozenset(total)
        size, everything = len(total), sum(total.values())
        for label, counter in counts.items():
            rest = everything - sum(counter.values()) + alpha * size
            own = sum(counter.values()) + alpha * size
            weights = {
                feature: math.log((counter[feature] + alpha) / own)
                - math.log((count - counter[feature] + alpha) / rest)
                for feature, count in total.items()
            }
            self.weights[label] = defaultdict(float, weights)

    def scores(self, text: str) -> dict[L, float]:
        """For each label how much more its examples look like the text than the others do; empty: no known word."""
        found = [each for each in features(text) if each in self.known]
        if not found:
            return {}
        root = math.sqrt(len(found))
        return {label: sum(weights[each] for each in found) / root for label, weights in self.weights.items()}


def features(text: str) -> list[str]:
    """Stems and pairs of neighbours, each once; characters of Chinese, Japanese and Korean count as words."""
    stem = _stemmer.stemWord
    tokens = [stem(token) for token in _TOKEN.findall(text.lower())]
    pairs = [f"{a} {b}" for a, b in pairwise(tokens)]
    return list(dict.fromkeys([*tokens, *pairs]))


_stemmer = Stemmer.Stemmer("english")
