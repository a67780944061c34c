"""What a search in a text returns, and the words around a number that tell what the number is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from executor.data.screen import Mask, Screen

_BEFORE = 48
"""characters before a number in which a word can say what it is"""
_NUMBER_WORD = r"(?:[ _-]*(?:numbers?|num|no|nr|nbr|id|code|ref|reference|details)\b\.?)*"
_LINK = r"[\s:=#\"'(\[*-]*(?:(?:is|was|are|to|with|of)\b[\s:=#\"'(\[*-]*)?"


class Found(NamedTuple):
    """One span of a text."""

    kind: str
    """a problem code, such as pii_email"""
    start: int
    end: int
    text: str
    what: str = ""
    """the kind in words, where it says more than the code: "AWS access key" """


@dataclass(frozen=True)
class Finder:
    """One search: `gate` tells for all texts at once which of them can hold a match, `find` looks at one of them."""

    gate: Callable[[Screen], Mask]
    find: Callable[[str], Iterator[Found]]


class Taken:
    """Which characters of a text are part of a find already: a bit for each, so that many finds stay cheap."""

    def __init__(self, text: str) -> None:
        self._marks = bytearray(len(text))

    def take(self, start: int, end: int) -> bool:
        """Whether the span was free; it is taken now."""
        if self.holds(start, end):
            return False
        self._marks[start:end] = b"\1" * (end - start)
        return True

    def holds(self, start: int, end: int) -> bool:
        return self._marks.find(1, start, end) >= 0


def adjacent(words: str) -> re.Pattern[str]:
    """Matches at the end of a text that leads up to a number: one of the words, "number" or "no.", "is" or a colon."""
    return re.compile(rf"\b(?:{words})s?{_NUMBER_WORD}{_LINK}$", re.IGNORECASE)


def before(text: str, start: int) -> str:
    return text[max(0, start - _BEFORE) : start]


def all_founds(text: str, finders: Iterable[Finder]) -> list[Found]:
    """Everything that the finders find, in order of the text; spans of different kinds can overlap."""
    return sorted((found for finder in finders for found in finder.find(text)), key=lambda f: (f.start, -f.end, f.kind))
