"""Labels: other spellings, answers that are no label, and how often each occurs."""

from __future__ import annotations

import re
from array import array
from collections import Counter

import numpy as np

from executor.data import labels
from executor.data.batch import Batch
from executor.data.judge.held import percent, snippet
from executor.data.problem import Problem, warning

_IMBALANCE = 10
"""times the rarest label that the commonest may occur"""
_RARE = 10
"""rows; a label with fewer is rare where the middle label has `_ENOUGH`"""
_ENOUGH = 20
_LONGEST = 80
"""characters of a label"""
_MOST_LABELS = 500
_DIFFERENT = 5000
"""different answers that are kept; a set with more has no labels"""
_WARM = 4096
"""rows after which a set with mostly different answers is no set of labels"""
_MOST = 0.95
"""share of rows with a label that occurs again, from which on the others are not in the set's format"""
_LEAST = 20
_LISTED = 10
_TOO_LONG = "\0"
"""stands for every answer that is too long for a label"""
_WORDS = re.compile(r"\w+")


class LabelNames:
    """Spellings and frequencies of the answers, where these are a closed set."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._codes = array("i")
        self._lines = array("q")
        self._none = False
        """whether the answers are no closed set"""
        self.better: dict[str, str] = {}
        """after `finish`: spellings of a label, and the better one of each"""

    def add(self, batch: Batch) -> list[Problem]:
        if self._none:
            return []
        numbers = self._numbers
        codes = {reply: numbers.setdefault(_kept(reply), len(numbers)) for reply in dict.fromkeys(batch.replies)}
        self._codes.extend([codes[reply] for reply in batch.replies])
        self._lines.extend(batch.lines)
        rows = len(self._lines)
        if len(numbers) > _DIFFERENT or (rows >= _WARM and len(numbers) > rows / 2):
            self._none = True
            self._numbers, self._codes, self._lines = {}, array("i"), array("q")
        return []

    def finish(self) -> list[Problem]:
        counts = self._counts()
        mostly = self._labels(counts)
        if not mostly:
            return []
        spellings = labels.spellings(mostly)
        unified: Counter[str] = Counter()
        for label, n in mostly.items():
            unified[spellings.get(label, label)] += n
        errors = labels.typing_errors(unified)
        self.better = {**errors, **spellings}
        alien = self._alien(counts, unified)
        found = self._named(alien, unified)
        known = Counter({label: n for label, n in unified.items() if label not in errors and label not in alien})
        return found + _frequencies(known)

    def _counts(self) -> Counter[str]:
        numbers = Counter(self._codes)
        return Counter({reply: numbers[number] for reply, number in self._numbers.items()})

    def _labels(self, counts: Counter[str]) -> Counter[str]:
        """The answers that are labels: all, or nearly all with few answers of another kind between them; else none."""
        n = counts.total()
        short = {text: times for text, times in counts.items() if text != _TOO_LONG and len(text.strip()) <= _LONGEST}
        if len(counts) <= min(_MOST_LABELS, max(1, n // 2)) and len(short) == len(counts):
            return Counter(short)
        again = Counter({text: times for text, times in short.items() if times > 1})
        closed = len(again) <= min(_MOST_LABELS, n // 2) and again.total() >= _MOST * n
        if n < _LEAST or not closed:
            return Counter()
        near = {labels.key(text) for text in again}
        once = {text: times for text, times in short.items() if times == 1}
        close = labels.typing_errors(Counter({**again, **once}))
        again.update({text: 1 for text in once if labels.key(text) in near or text in close or _is_name(text, again)})
        return again

    def _alien(self, counts: Counter[str], known: Counter[str]) -> dict[str, str]:
        """Answers that are no label, each with the reason."""
        if counts.total() < _LEAST:
            return {}
        names = sorted((label for label, n in known.items() if n > 1), key=len, reverse=True)
        longest = max(map(len, names), default=0)
        found = {}
        for text, times in counts.items():
            if text in self.better or (text.strip() in known and times > 1):
                continue
            inside = next((name for name in names if _within(name, text)), None)
            if text == _TOO_LONG or len(text) > 2 * longest:
                found[text] = "is longer than any label"
            elif inside is not None and inside != text.strip():
                found[text] = f'holds the label "{snippet(inside)}" and something else'
            elif text not in known:
                found[text] = "is none of the labels"
        return found

    def _named(self, alien: dict[str, str], known: Counter[str]) -> list[Problem]:
        found = []
        replies = list(self._numbers)
        total, n = known.total(), len(self._codes)
        share = percent(min(total, n), n)
        codes = [code for code, label in enumerate(replies) if label in alien or self._better_than(label)]
        for place in np.flatnonzero(np.isin(np.frombuffer(self._codes, np.intc), codes)).tolist():
            label, line = replies[self._codes[place]], self._lines[place]
            better = self._better_than(label)
            if better:
                message = f'"{snippet(label)}" looks like another spelling of "{snippet(better)}"'
                found.append(warning("label_variant", message, "Use one spelling.", line, "assistant"))
            elif label in alien:
                shown = "" if label == _TOO_LONG else f' "{snippet(label)}"'
                message = f"the answer{shown} {alien[label]}; {share} of the {n} answers are one of {len(known)} labels"
                found.append(warning("off_format", message, "Answer with the label only.", line, "assistant"))
        return found

    def _better_than(self, label: str) -> str | None:
        return self.better.get(label) or self.better.get(label.strip())


def _kept(reply: str) -> str:
    return reply if len(reply) <= 2 * _LONGEST and "\n" not in reply.strip() else _TOO_LONG


def _is_name(text: str, names: Counter[str]) -> bool:
    """Whether a text is built like the labels: as long, with the same signs and no label inside it."""
    signs = {each for name in names for each in name if not each.isalnum()}
    alike = all(each.isalnum() or each in signs for each in text) and len(text) <= max(map(len, names))
    return alike and not any(_within(name, text) for name in names)


def _within(label: str, text: str) -> bool:
    """Whether a text says the label and something else: more words or other punctuation, not another compound name."""
    if label not in text or len(text) <= len(label):
        return False
    before, _, after = text.partition(label)
    if (
        before[-1:].isalnum()
        or after[:1].isalnum()
        or before[-1:] in "_-" * bool(before)
        or after[:1] in "_-" * bool(after)
    ):
        return False
    rest = before + " " + after
    signs = {each for each in rest.strip() if not each.isalnum() and each not in " _-/&'"}
    return bool(signs - set(label)) or len(_WORDS.findall(rest)) > 2


def _frequencies(counts: Counter[str]) -> list[Problem]:
    """Labels that are much rarer than others."""
    if not counts:
        return []
    found = []
    most, n_most = counts.most_common(1)[0]
    least, n_least = min(counts.items(), key=lambda item: (item[1], item[0]))
    if n_most >= _IMBALANCE * n_least:
        message = f'"{snippet(most)}" occurs {n_most} times, "{snippet(least)}" {n_least}'
        fix = "Add rows of the rare labels, or remove those labels."
        found.append(warning("class_imbalance", message, fix, field="assistant"))
    middle = sorted(counts.values())[len(counts) // 2]
    rare = sorted((n, label) for label, n in counts.items() if n < _RARE)
    if rare and middle >= _ENOUGH:
        listed = ", ".join(f'"{snippet(label)}" ({n})' for n, label in rare[:_LISTED])
        more = f" and {len(rare) - _LISTED} more" if len(rare) > _LISTED else ""
        message = f"{len(rare)} of {len(counts)} labels have fewer than {_RARE} rows: {listed}{more}"
        fix = "Add rows of these labels; a model hardly learns a label from so few."
        found.append(warning("rare_label", message, fix, field="assistant"))
    return found
