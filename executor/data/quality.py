"""Judgements on well-formed rows: duplicates, contradictions, labels, leftovers, personal data, broken text."""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from executor.data import labels
from executor.data.batch import Batch
from executor.data.problem import Problem, warning
from executor.data.task import Tally

_IMBALANCE = 10
"""times the rarest label that the commonest may occur"""
_LOOPING = 0.05
"""compressed size over size of a text that repeats itself; prose compresses to about 0.4"""
_LONG = 1000
_SNIPPET = 60
_PLACEHOLDER = re.compile(
    r"\{\{[\w .-]{1,60}\}\}|\[(?:insert|your|todo)\b[^\]]{0,80}\]"
    r"|<(?:insert|your|placeholder)\b[^>]{0,80}>|\blorem ipsum\b",
    re.IGNORECASE,
)
_BLANK_WORDS = frozenset({"nan", "null", "none", "n/a", "na", "tbd", "todo", "xxx", "-", "?", "…"})
_MOJIBAKE = re.compile(
    "\u00c3[\u0080-\u00bf]|\u00c2[\u00a0-\u00bf]|\u00e2\u20ac[\u0080-\u00bf\u0153\u201d\u2122\u02dc]"
    "|\ufffd|\u00ef\u00bb\u00bf"
)
"""UTF-8 read as Windows-1252 (an accented letter, a typographic quote), and the replacement character"""


class Judge(Protocol):
    """Judges the quality of well-formed rows as they pass."""

    def add(self, batch: Batch) -> list[Problem]:
        """What rows of this batch show by themselves."""

    def finish(self) -> list[Problem]:
        """What only the whole set shows."""


def quality_judges() -> list[Judge]:
    """Fresh judges of everything."""
    from executor.data.repeats import Repeats  # numpy takes a tenth of a second

    return [Content(), Sensitive(), Repeats(), Labels()]


class Content:
    """Leftovers, broken characters and loops in single texts."""

    def add(self, batch: Batch) -> list[Problem]:
        return [
            problem
            for text, owner, role in zip(batch.texts, batch.owners, batch.roles, strict=True)
            for problem in _content(text, role, batch.lines[owner])
        ]

    def finish(self) -> list[Problem]:
        return []


def _content(text: str, role: str, line: int) -> Iterator[Problem]:
    if text.strip().casefold() in _BLANK_WORDS:
        yield warning("placeholder", f'the text is only "{text.strip()}"', "Fill it or remove the row.", line, role)
    elif match := _PLACEHOLDER.search(text):
        message = f"a placeholder was left unfilled: {_snippet(match.group())}"
        yield warning("placeholder", message, "Fill it or remove the row.", line, role)
    if _MOJIBAKE.search(text):
        message = "characters look decoded in the wrong encoding"
        yield warning("mojibake", message, "Export the data again as UTF-8.", line, role)
    if len(text) > _LONG and len(zlib.compress(text.encode())) < _LOOPING * len(text.encode()):
        yield warning("repetition", "the text repeats itself over and over", "Remove the row.", line, role)


class Sensitive:
    """Personal data and secrets, in every role."""

    def add(self, batch: Batch) -> list[Problem]:
        from executor.data.sensitive import judge  # the tables of telephone numbers are large

        return judge(batch)

    def finish(self) -> list[Problem]:
        return []


class Labels:
    """Spellings and frequencies of the answers, where these are a closed set."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._codes = array("l")
        self._lines = array("q")
        self._numbers: dict[str, int] = {}
        self.better: dict[str, str] = {}
        """after `finish`: spellings of a label, and the better one of each"""

    def add(self, batch: Batch) -> list[Problem]:
        self._tally.add(batch.answers)
        if self._tally.labels:
            numbers = self._numbers
            self._codes.extend([numbers.setdefault(reply, len(numbers)) for reply in batch.replies])
            self._lines.extend(batch.lines)
        return []

    def finish(self) -> list[Problem]:
        if self._tally.task().kind != "label":
            return []
        replies = list(self._numbers)
        answers = [replies[code] for code in self._codes]
        spellings = labels.spellings(answers)
        counts = Counter(spellings.get(label, label) for label in answers)
        errors = labels.typing_errors(counts)
        self.better = {**errors, **spellings}
        found = []
        for label, line in zip(answers, self._lines, strict=True):
            better = spellings.get(label) or errors.get(label)
            if better:
                message = f'"{_snippet(label)}" looks like another spelling of "{_snippet(better)}"'
                found.append(warning("label_variant", message, "Use one spelling.", line, "assistant"))
        most, n_most = counts.most_common(1)[0]
        least, n_least = min(counts.items(), key=lambda item: (item[1], item[0]))
        if n_most >= _IMBALANCE * n_least:
            message = f'"{_snippet(most)}" occurs {n_most} times, "{_snippet(least)}" {n_least}'
            fix = "Add rows of the rare labels, or remove those labels."
            found.append(warning("class_imbalance", message, fix, field="assistant"))
        return found


def _snippet(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"
