"""Which facts and cards answer a question: BM25 over stemmed words, with the synonyms of `words.yaml`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import Stemmer  # PyStemmer: the Snowball stemmers by their own authors, in C

from knowledge.load import ASKED_FILES, cards, cases, facts, vocabulary
from knowledge.rows import Card, Case, Fact, Intent

K1, B = 1.2, 0.6
"""BM25's constants after Robertson; B lower than his 0.75, for the texts are of like length."""

HEAD_WEIGHT = 3
"""A word of a card's title or keywords counts as so many in its text."""

INTENT_BONUS = 1.5
"""Factor for cards written for the intent that was asked for."""

OWN_SUBJECT, OTHER_SUBJECT = 1.4, 0.6
"""Factors for a fact about the product that the question names, and for one about another product."""

_TOKEN = re.compile(r"[a-z0-9]+(?:[._/+-][a-z0-9]+)*|[\u4e00-\u9fff]")
_PART = re.compile(r"[._/+-]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])")

D = TypeVar("D")


@dataclass(frozen=True)
class Hit(Generic[D]):
    item: D
    score: float
    share: float
    """how much of the question's rarity the document holds, 0..1"""


class Index(Generic[D]):
    """BM25 over documents given as word lists."""

    def __init__(self, items: Sequence[D], documents: Sequence[list[str]]) -> None:
        self.items = items
        self.counts = [Counter(document) for document in documents]
        self.lengths = [len(document) for document in documents]
        self.mean = sum(self.lengths) / max(1, len(self.lengths))
        self.frequency = Counter(word for counts in self.counts for word in counts)

    def rarity(self, word: str) -> float:
        """The inverse document frequency as in BM25; highest for a word of no document."""
        frequency = self.frequency[word]
        return math.log(1 + (len(self.items) - frequency + 0.5) / (frequency + 0.5))

    def search(self, query: str) -> list[Hit[D]]:
        """Every document that holds a word of the query, best first."""
        rare = {word: self.rarity(word) for word in set(words(query))}
        total = sum(rare.values())
        hits = []
        for item, counts, length in zip(self.items, self.counts, self.lengths, strict=True):
            score = held = 0.0
            for word, rarity in rare.items():
                if count := counts.get(word, 0):
                    held += rarity
                    score += rarity * count * (K1 + 1) / (count + K1 * (1 - B + B * length / self.mean))
            if held:
                hits.append(Hit(item, score, held / total))
        return sorted(hits, key=lambda hit: -hit.score)


def words(text: str) -> list[str]:
    """Stems without the commonest words; `lora_alpha` and `SFTTrainer` count whole and in their parts."""
    lower = _CAMEL.sub("_", text).lower()
    lower = vocabulary().phrases.sub(lambda match: f" {match.lastgroup} ", lower)
    return [word for token in _TOKEN.findall(lower) for word in _terms(token)]


@cache
def _terms(token: str) -> tuple[str, ...]:
    """What one token counts as: itself without its joints, and its parts, as stems and synonyms."""
    table = vocabulary()
    parts = _PART.split(token)
    whole = [token.replace("_", "")] if len(parts) > 1 else []
    stems = (_stemmer().stemWord(each) for each in [*whole, *parts] if each and each not in table.stop)
    return tuple(table.same.get(stem, stem) for stem in stems)


def search(query: str, k: int = 3, intent: Intent | None = None) -> list[Hit[Card]]:
    """The best `k` cards, best first; none where no word of the query occurs."""
    hits = _card_index().search(query)
    better = [Hit(h.item, h.score * (INTENT_BONUS if intent in h.item.intents else 1), h.share) for h in hits]
    return sorted(better, key=lambda hit: -hit.score)[:k]


def search_facts(query: str, k: int = 5) -> list[Hit[Fact]]:
    """The best `k` facts, best first; those about a product that the query names before those about another."""
    named = subjects(query)
    hits = [Hit(h.item, h.score * _fitting(h.item, named), h.share) for h in _fact_index().search(query)]
    return sorted(hits, key=lambda hit: -hit.score)[:k]


def search_cases(query: str, k: int = 3) -> list[Hit[Case]]:
    """The `k` published cases whose task is most like the query."""
    return _case_index().search(query)[:k]


def subjects(query: str) -> set[str]:
    """The products of `words.yaml` that a text names."""
    return {name for name, pattern in vocabulary().subjects.items() if pattern.search(query)}


def rarity(word: str) -> float:
    """The inverse document frequency of a word of `words` over the cards."""
    return _card_index().rarity(word)


def _fitting(fact: Fact, named: set[str]) -> float:
    own = _subjects_of(fact.id)
    if not named or not own:
        return 1.0
    return OWN_SUBJECT if own & named else OTHER_SUBJECT


@cache
def _subjects_of(id_: str) -> frozenset[str]:
    return frozenset(subjects(id_.replace(".", " ").replace("-", " ")))


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


@cache
def _card_index() -> Index[Card]:
    heads = [words(f"{card.title} {' '.join(card.keywords)}") for card in cards()]
    return Index(cards(), [head * HEAD_WEIGHT + words(card.body) for head, card in zip(heads, cards(), strict=True)])


@cache
def _case_index() -> Index[Case]:
    return Index(cases(), [words(case.task) for case in cases()])


@cache
def _fact_index() -> Index[Fact]:
    rows = [row for name in ASKED_FILES for row in facts(name)]
    return Index(rows, [words(f"{row.id} {row.text} {' '.join(row.asks)}") for row in rows])
