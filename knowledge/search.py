"""Which facts and cards answer a question: BM25 over stemmed words, with the synonyms of `words.yaml`."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Generic, TypeVar

import Stemmer  # PyStemmer: the Snowball stemmers by their own authors, in C

from knowledge.load import ASKED_FILES, cards, cases, facts, vocabulary
from knowledge.rows import Card, Case, Fact, Intent

K1, B = 1.2, 0.5
"""BM25's constants after Robertson; B lower than his 0.75, for the texts are of like length."""

HEAD_WEIGHT = 3
"""A word of a card's title or keywords counts as so many in its text."""

INTENT_BONUS = 1.5
"""Factor for cards written for the intent that was asked for."""

OWN_SUBJECT, OTHER_SUBJECT = 1.3, 0.7
"""Factors for a fact about the product that the question names, and for one about another product."""

NAME, NUMBER = 1.6, 0.3
"""Factors for a name in the query (`IA3`, `max_length`, `RewardConfig`) and for a bare number, which fits anywhere."""

PART = 0.7
"""The same for a compound such as `SFTTrainer` and each of its parts: it says where to look more than what for."""

NAMELESS = 0.5
"""Factor for a document that holds none of the names in the query."""

_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[._/+-][A-Za-z0-9]+)*\+?|[\u4e00-\u9fff]")
_NAME = re.compile(r"[A-Z].*[A-Z]|[a-z0-9][A-Z]|[A-Za-z].*\d|\d.*[A-Za-z]|[A-Za-z0-9][_+]")
ASKED = 1.0
"""What likeness to a known question adds to a fact's score."""

POOL = 30
"""So many of the best facts are looked at for an answer."""

SAID_BEFORE = 0.5
"""Share of a fact's score that remains where all of it was already said."""

MOST_CONCEPTS = 4
"""A question of more concepts is not broad."""

ALL = 0.99
"""A share that is all but for rounding."""

OTHER_WORDS = 0.8
"""Factor for a concept found in other words than the query's."""

_SIZE = re.compile(r"\b\d+(\.\d+)?\s?[bB]\b")
"""The size of a model: it does not make a question precise."""

_PART = re.compile(r"[._/+-]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])")

D = TypeVar("D")


@dataclass(frozen=True)
class Hit(Generic[D]):
    item: D
    score: float
    share: float
    """how much of the question's rarity the document holds, 0..1"""
    parts: dict[int, float]
    """the score of each concept of the question that the document holds"""


@dataclass(frozen=True)
class Concept:
    """One thing that a query speaks of: its wordings, the query's own first, and how much it counts."""

    wordings: tuple[tuple[str, ...], ...]
    weight: float


class Index(Generic[D]):
    """BM25 over documents given as word lists; a concept of the query scores by the best of its wordings."""

    def __init__(self, items: Sequence[D], documents: Iterable[list[str]]) -> None:
        self.items = items
        self.lengths: list[int] = []
        self.postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for at, document in enumerate(documents):
            self.lengths.append(len(document))
            for word, count in Counter(document).items():
                self.postings[word].append((at, count))
        self.mean = sum(self.lengths) / max(1, len(self.lengths))

    def rarity(self, word: str) -> float:
        """The inverse document frequency as in BM25; highest for a word of no document."""
        frequency = len(self.postings.get(word, ()))
        return math.log(1 + (len(self.items) - frequency + 0.5) / (frequency + 0.5))

    def search(self, query: str) -> list[Hit[D]]:
        """Every document that holds a word of the query, best first."""
        parts: defaultdict[int, dict[int, float]] = defaultdict(dict)
        rare, asked = [], concepts(query)
        for number, concept in enumerate(asked):
            rare.append(concept.weight * sum(map(self.rarity, concept.wordings[0])))
            for wording in concept.wordings:
                factor = concept.weight * (1.0 if wording == concept.wordings[0] else OTHER_WORDS)
                for at, score in self._scores(wording).items():
                    parts[at][number] = max(parts[at].get(number, 0.0), factor * score)
        total = sum(rare)
        names = {number for number, concept in enumerate(asked) if concept.weight in (NAME, PART)}
        hits = [
            Hit(
                self.items[at],
                sum(held.values()) * (NAMELESS if names and not names & held.keys() else 1.0),
                sum(rare[number] for number in held) / total,
                held,
            )
            for at, held in parts.items()
        ]
        return sorted(hits, key=lambda hit: -hit.score)

    def _scores(self, wording: tuple[str, ...]) -> dict[int, float]:
        """Of the documents that hold every word of the wording."""
        found: dict[int, float] | None = None
        for word in wording:
            rare = self.rarity(word)
            here = {
                at: rare * count * (K1 + 1) / (count + K1 * (1 - B + B * self.lengths[at] / self.mean))
                for at, count in self.postings.get(word, ())
            }
            found = here if found is None else {at: found[at] + score for at, score in here.items() if at in found}
        return found or {}


def words(text: str) -> list[str]:
    """Stems without the commonest words; `lora_alpha` and `SFTTrainer` count whole and in their parts."""
    return [word for token in _TOKEN.findall(text) for word in _terms(token)]


@cache
def _terms(token: str) -> tuple[str, ...]:
    joined = _CAMEL.sub("_", token).lower().replace("+", "plus" if token.endswith("+") else "_")
    parts = [part for part in _PART.split(joined) if part]
    whole = ["".join(parts)] if len(parts) > 1 else []
    stop = vocabulary().stop
    return tuple(_stemmer().stemWord(each) for each in [*whole, *parts] if each not in stop)


def concepts(query: str) -> list[Concept]:
    """What the query speaks of; a phrase of `words.yaml` is one thing, and so is every other word."""
    tokens = _TOKEN.findall(query)
    telling = [token for token in tokens if not everywhere(token)]
    weights: dict[str, float] = {}
    for token in telling if any(_terms(token) for token in telling) else tokens:
        weight = NUMBER if token.isdigit() else NAME if _NAME.search(token) else 1.0
        terms = _terms(token)
        compound = len(terms) > 1 and weight == NAME
        for word in terms:
            weights[word] = max(PART if compound else weight, weights.get(word, 0.0))
    said, table = list(weights), _same()
    found: list[Concept] = []
    taken: set[str] = set()
    for size in (3, 2, 1):
        for at in range(len(said) - size + 1):
            wording = tuple(said[at : at + size])
            if not taken & set(wording) and (size == 1 or wording in table):
                taken |= set(wording)
                others = [other for other in table.get(wording, ()) if other != wording]
                found.append(Concept((wording, *others), max(weights[word] for word in wording)))
    return found


def everywhere(token: str) -> bool:
    """Whether all parts of a token are words of `words.yaml` that every text of the field has: `fine-tuning`."""
    return all(part in vocabulary().everywhere for part in _PART.split(token.lower()))


@cache
def _same() -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """For each wording of a line of `words.yaml` all wordings of its lines."""
    table: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for line in vocabulary().same:
        wordings = [each for each in dict.fromkeys(tuple(words(wording)) for wording in line) if each]
        for wording in wordings:
            table[wording] += wordings
    return dict(table)


def search(query: str, k: int = 3, intent: Intent | None = None) -> list[Hit[Card]]:
    """The best `k` cards, best first; none where no word of the query occurs."""
    hits = _card_index().search(query)
    better = [replace(hit, score=hit.score * (INTENT_BONUS if intent in hit.item.intents else 1)) for hit in hits]
    return sorted(better, key=lambda hit: -hit.score)[:k]


def broad(query: str) -> Hit[Card] | None:
    """The card whose title and keywords hold all of a short question that names no product and no option."""
    query = _SIZE.sub("", query)
    asked = concepts(query)
    if len(asked) > MOST_CONCEPTS or subjects(query) or any(concept.weight == PART for concept in asked):
        return None
    best = next(iter(_head_index().search(query)), None)
    return best if best and best.share > ALL else None


def search_facts(query: str, k: int = 5) -> list[Hit[Fact]]:
    """At most `k` facts that answer together: the best one, then those that say most of what is not said yet.

    Facts about a product that the query names go before those about another.
    """
    named = subjects(query)
    asked = frozenset(word for concept in concepts(query) for word in concept.wordings[0])
    near = _fact_index().search(query)[: 5 * POOL]
    fitted = [replace(hit, score=hit.score * _fitting(hit.item, named) * _asked(hit.item, asked)) for hit in near]
    left = sorted(fitted, key=lambda hit: -hit.score)[:POOL]
    chosen: list[Hit[Fact]] = []
    said: set[int] = set()
    while left and len(chosen) < k:
        best = max(left, key=lambda hit: _gain(hit, said))
        chosen.append(best)
        left.remove(best)
        said |= best.parts.keys()
    return chosen


def _asked(fact: Fact, asked: frozenset[str]) -> float:
    """From 1 to 1 + `ASKED`, by likeness to a question that the fact is known to answer (F1, weighted by rarity)."""
    rare = _fact_index().rarity
    mine = sum(map(rare, asked))
    best = 0.0
    for ask in _asks(fact.id, fact.asks):
        both = sum(map(rare, asked & ask))
        best = max(best, 2 * both / (mine + sum(map(rare, ask))))
    return 1 + ASKED * best


@cache
def _asks(id_: str, asks: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(found for ask in asks if (found := frozenset(words(ask))))


def _gain(hit: Hit[Fact], said: set[int]) -> float:
    """The score, with what was already said counted in part."""
    whole = sum(hit.parts.values())
    new = sum(score for number, score in hit.parts.items() if number not in said)
    return hit.score * (SAID_BEFORE + (1 - SAID_BEFORE) * new / whole)


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
def _head_index() -> Index[Card]:
    return Index(cards(), (words(f"{card.title} {card.title} {' '.join(card.keywords)}") for card in cards()))


@cache
def _case_index() -> Index[Case]:
    return Index(cases(), [words(case.task) for case in cases()])


@cache
def _fact_index() -> Index[Fact]:
    rows = [row for name in ASKED_FILES for row in facts(name)]
    return Index(rows, (words(f"{row.id} {row.id} {row.text} {' '.join(row.asks)}") for row in rows))
