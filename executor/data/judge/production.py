"""How far the prompts to train on are from a sample of those that come in use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from executor.data.batch import Batch
from executor.data.judge.held import percent, snippet
from executor.data.judge.nearest import nearest
from executor.data.judge.told import NAMES, language
from executor.data.problem import Problem, warning

LEAST = 20
"""prompts of each side without which nothing is measured"""
_SAMPLE = 3000
"""training prompts that are kept"""
_COMPARED = 500
"""production prompts (and training prompts, as a yardstick) whose nearest training prompt is looked for"""
_LONGEST = 1000
"""characters of a prompt that are kept"""
_P = 0.001
"""chance of a difference by luck up to which it counts"""
_DISTANCE = 0.25
"""Kolmogorov-Smirnov distance of the lengths from which on it matters"""
_STYLE = 0.2
"""difference of the shares with a trait that matters"""
_LANGUAGE = 0.1
_UNKNOWN = 0.05
"""share of unknown words beyond the expected one that matters"""
_TYPING = 0.01
_FAR = 0.02
"""share of the training prompts that are as far from all others as a prompt without a neighbour"""
_FAR_SHARE = 0.1
_EXAMPLES = 3
_TOKENS = 200
_COMMON = 5
"""times a word occurs that a typing error is measured against"""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_FIX = "Train on prompts like those in use: sample them from production, or write rows for what is missing."
_TRAITS: dict[str, Callable[[str], bool]] = {
    "have no capital letter": lambda text: text == text.lower() and text != text.upper(),
    "are all in capitals": lambda text: text == text.upper() and text != text.lower(),
    "end with punctuation": lambda text: text.rstrip()[-1:] in tuple(".!?…。！？"),
    "hold a question mark": lambda text: "?" in text or "？" in text,
    "have several lines": lambda text: "\n" in text.strip(),
}


class Mismatch:
    """Compares lengths, words, languages, style and topics of the prompts with production; every figure is measured.

    Keeps a random sample of the training prompts, drawn with a fixed seed (reservoir sampling; Vitter 1985,
    algorithm R).
    """

    def __init__(self, production_texts: Sequence[str]) -> None:
        self._production = [text[:_LONGEST] for text in production_texts if isinstance(text, str) and text.strip()]
        self._sample: list[str] = []
        self._seen = 0
        self._random = np.random.default_rng(0)

    def add(self, batch: Batch) -> list[Problem]:
        n = len(batch)
        ranks = self._seen + np.arange(1, n + 1)
        slots = np.where(ranks <= _SAMPLE, ranks - 1, (self._random.random(n) * ranks).astype(np.int64))
        for place in np.flatnonzero(slots < _SAMPLE).tolist():
            text, slot = batch.asked[place][:_LONGEST], int(slots[place])
            if slot == len(self._sample):
                self._sample.append(text)
            else:
                self._sample[slot] = text
        self._seen += n
        return []

    def finish(self) -> list[Problem]:
        train, production = [text for text in self._sample if text.strip()], self._production
        if min(len(train), len(production)) < LEAST:
            few = f"{len(production)} production and {len(train)} training prompts"
            message = f"production was not compared: there are {few}, {LEAST} of each are needed"
            return [warning("production_mismatch", message, "Give more production prompts, one a row.", field="user")]
        notes = [
            *_lengths(train, production),
            *_words(train, production),
            *_languages(train, production),
            *_style(train, production),
            *_topics(train, production),
        ]
        sizes = f" (n = {len(train)} training and {len(production)} production prompts)"
        return [warning("production_mismatch", note + sizes, _FIX, field="user") for note in notes]


def _lengths(train: list[str], production: list[str]) -> list[str]:
    """Two-sample Kolmogorov-Smirnov test of the characters."""
    ours, theirs = [len(text) for text in train], [len(text) for text in production]
    test = stats.ks_2samp(ours, theirs, method="asymp")
    if test.statistic < _DISTANCE or test.pvalue > _P:
        return []
    medians = f"the median training prompt has {np.median(ours):.0f} characters, in production {np.median(theirs):.0f}"
    return [f"length: {medians}; Kolmogorov-Smirnov distance {test.statistic:.2f}"]


def _words(train: list[str], production: list[str]) -> list[str]:
    """Words that training never shows, and typing errors.

    The expected share of unseen words is that of words seen once (Good 1953, the Good-Turing estimate).
    """
    known = Counter(word for text in train for word in _WORD.findall(text.lower()))
    asked = Counter(word for text in production for word in _WORD.findall(text.lower()))
    if min(known.total(), asked.total()) < _TOKENS:
        return []
    once = {word: 1 for word, n in known.items() if n == 1}
    unknown = {word: n for word, n in asked.items() if word not in known}
    expected, share = len(once) / known.total(), sum(unknown.values()) / asked.total()
    found = []
    if share > 2 * expected and share - expected > _UNKNOWN:
        words = ", ".join(f'"{word}"' for word, _ in Counter(unknown).most_common(_EXAMPLES))
        text = (
            f"{share:.0%} of the words in production are not in the training prompts, {expected:.0%} are to be expected"
        )
        found.append(f"words: {text}; such as {words}")
    common = [word for word, n in known.items() if n >= _COMMON and len(word) >= _COMMON]
    mistyped, usual = _near(unknown, common) / asked.total(), _near(once, common) / known.total()
    if mistyped > 2 * usual + _TYPING:
        found.append(
            f"typing errors: {mistyped:.1%} of the words in production are one letter away from a training word, "
            f"{usual:.1%} in the training prompts"
        )
    return found


def _near(words: dict[str, int], common: list[str]) -> int:
    """How many words are one letter left out, put in, changed or swapped away from a common one."""
    shortened = {word[:i] + word[i + 1 :] for word in common for i in range(len(word))} | set(common)
    total = 0
    for word, n in words.items():
        if len(word) >= _COMMON and any(each in shortened for each in [word, *_shorter(word)]):
            total += n
    return total


def _shorter(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


def _languages(train: list[str], production: list[str]) -> list[str]:
    ours = Counter(filter(None, map(language, train[:_COMPARED])))
    theirs = Counter(filter(None, map(language, production[:_COMPARED])))
    found = []
    for code, n in theirs.most_common():
        if _differs(ours[code], ours.total(), n, theirs.total(), _LANGUAGE):
            shares = f"{percent(n, theirs.total())} of production and {percent(ours[code], ours.total())} of training"
            found.append(f"language: {shares} is {NAMES[code]}")
    return found


def _style(train: list[str], production: list[str]) -> list[str]:
    found = []
    for name, has in _TRAITS.items():
        ours, theirs = sum(map(has, train)), sum(map(has, production))
        if _differs(ours, len(train), theirs, len(production), _STYLE):
            shares = (
                f"{percent(theirs, len(production))} of the production and {percent(ours, len(train))} of the training"
            )
            found.append(f"style: {shares} prompts {name}")
    return found


def _differs(ours: int, of: int, theirs: int, of_theirs: int, least: float) -> bool:
    """Whether two shares differ by at least `least`, and not by luck (Fisher's exact test)."""
    if not of or not of_theirs or abs(ours / of - theirs / of_theirs) < least:
        return False
    table = [[ours, of - ours], [theirs, of_theirs - theirs]]
    return bool(stats.fisher_exact(table)[1] <= _P)


def _topics(train: list[str], production: list[str]) -> list[str]:
    """Production prompts that are farther from every training prompt than training prompts are from each other."""
    asked = production[:_COMPARED]
    among, to_train = nearest(train, train[:_COMPARED], itself=True), nearest(train, asked, itself=False)
    limit = float(np.quantile(among, _FAR))
    far = np.flatnonzero(to_train < limit)
    if len(far) < _FAR_SHARE * len(asked) or stats.binomtest(len(far), len(asked), _FAR, "greater").pvalue > _P:
        return []
    worst = far[np.argsort(to_train[far], kind="stable")][:_EXAMPLES].tolist()
    named = ", ".join(f'"{snippet(asked[place])}"' for place in worst)
    share = percent(len(far), len(asked))
    return [
        f"topics: {share} of {len(asked)} production prompts have no training prompt near them (cosine of character "
        f"3-grams under {limit:.2f}, as for {_FAR:.0%} of the training prompts among themselves): {named}"
    ]
