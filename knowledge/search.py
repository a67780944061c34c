"""Which cards answer a question: BM25 over title, keywords and text."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from knowledge.load import Card, Intent, cards

K1, B = 1.2, 0.75
"""Robertson's usual BM25 constants."""

KEYWORD_WEIGHT = 3
"""A word of the title or the keywords counts as so many in the text."""

INTENT_BONUS = 1.5
"""Factor for cards written for the intent that was asked for."""

_WORD = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*|[\u4e00-\u9fff]")
_STOP = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "if", "in",
        "into", "is", "it", "my", "of", "on", "or", "our", "should", "so", "that", "the", "their", "them", "then",
        "there", "this", "to", "use", "fine", "tune", "tuning", "tuned", "fine-tune", "fine-tuned", "fine-tuning",
        "finetune", "finetuned", "finetuning", "was", "we", "what", "when", "which", "why", "will", "with", "you",
        "your",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Hit:
    card: Card
    score: float


def words(text: str) -> list[str]:
    """Lower-case words without the commonest, plural s and -ing removed."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def search(query: str, k: int = 3, intent: Intent | None = None) -> list[Hit]:
    """The best `k` cards, best first; none where no word of the query occurs."""
    documents, lengths, _ = _index()
    mean = sum(lengths) / len(lengths)
    hits = []
    for card, counts, length in zip(cards(), documents, lengths, strict=True):
        score = 0.0
        for word in set(words(query)):
            if count := counts.get(word, 0):
                score += rarity(word) * count * (K1 + 1) / (count + K1 * (1 - B + B * length / mean))
        if intent in card.intents:
            score *= INTENT_BONUS
        if score > 0:
            hits.append(Hit(card, score))
    return sorted(hits, key=lambda hit: -hit.score)[:k]


def rarity(word: str) -> float:
    """The inverse document frequency of a word of `words` over the cards, as in BM25; highest for a word of no card."""
    documents, _, frequency = _index()
    return math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))


def _stem(word: str) -> str:
    if len(word) > 5 and word.endswith("ing"):
        return word[:-3]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@cache
def _index() -> tuple[list[Counter[str]], list[int], Counter[str]]:
    """Word counts of each card, their sums, and in how many cards a word occurs."""
    documents = []
    for card in cards():
        head = words(f"{card.title} {' '.join(card.keywords)}")
        documents.append(Counter(head * KEYWORD_WEIGHT + words(card.body)))
    frequency = Counter(word for counts in documents for word in counts)
    return documents, [sum(counts.values()) for counts in documents], frequency
