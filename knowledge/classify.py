"""Which label a short text has, learnt from labelled examples at first use: naive Bayes over words and word pairs.

Naive Bayes, for it learns from two thousand examples in a tenth of a second, so that no weights have to be kept.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Generic, TypeVar

import Stemmer

_TOKEN = re.compile(r"[a-z0-9]+(?:[._+-][a-z0-9]+)*|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[?!:]")

L = TypeVar("L", bound=str)


class Classifier(Generic[L]):
    """Complement naive Bayes (Rennie et al., 2003): each label is judged by what the other labels' texts look like."""

    def __init__(self, examples: Mapping[L, Sequence[str]], alpha: float = 0.1) -> None:
        """`alpha` is added to every count (Lidstone); more of it trusts rare words less."""
        self.alpha = alpha
        self.counts: dict[L, Counter[str]] = {}
        self.total = Counter[str]()
        for label, texts in examples.items():
            self.counts[label] = Counter(chain.from_iterable(map(features, texts)))
            self.total.update(self.counts[label])
        self.sums = {label: sum(counter.values()) for label, counter in self.counts.items()}

    def scores(self, text: str) -> dict[L, float]:
        """For each label how much more its examples look like the text than the others do; empty: no known word."""
        found = [each for each in features(text) if each in self.total]
        if not found:
            return {}
        root = math.sqrt(len(found))
        return {label: sum(self._weight(label, each) for each in found) / root for label in self.counts}

    def _weight(self, label: L, feature: str) -> float:
        """The log of how much likelier the feature is in the label's texts than in all others."""
        own, smooth = self.counts[label][feature], self.alpha * len(self.total)
        rest = sum(self.sums.values()) - self.sums[label] + smooth
        here = (own + self.alpha) / (self.sums[label] + smooth)
        return math.log(here) - math.log((self.total[feature] - own + self.alpha) / rest)


def features(text: str) -> list[str]:
    """Stems and pairs of neighbours, each once; characters of Chinese, Japanese and Korean count as words."""
    stem = _stemmer.stemWord
    tokens = [stem(token) for token in _TOKEN.findall(text.lower())]
    pairs = [f"{a} {b}" for a, b in pairwise(tokens)]
    return list(dict.fromkeys([*tokens, *pairs]))


_stemmer = Stemmer.Stemmer("english")
