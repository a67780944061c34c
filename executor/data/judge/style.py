"""Answers in another style than all others: length, casing, punctuation, tone, Markdown."""

from __future__ import annotations

import re
from array import array

import numpy as np
import numpy.typing as npt

from executor.data.batch import Batch
from executor.data.judge.facts import LOWER, UPPER, Texts, facts
from executor.data.judge.held import percent
from executor.data.problem import Problem, warning

_LEAST = 30
"""prose answers; fewer have no style"""
_ALIKE = 0.95
"""share of the answers without a trait that makes those with it outliers"""
_Z = 5.0
"""robust z value of the logarithm of the length from which on a length is an outlier"""
_FACTOR = 4.0
"""and times the median length, longer or shorter"""
_LEAST_SPREAD = 0.15
"""of the logarithm of the length, so that sets of nearly equal lengths have some room"""
_ONE_STYLE = 0.8
"""spread of the logarithm of the length up to which a set has one style; sets of all kinds of tasks spread more"""
_NORMAL = 1.4826
"""median absolute deviation of a normal distribution, as a factor to its standard deviation"""
_LETTERS = 12
"""letters an answer needs for its casing to say something"""
_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f300-\U0001faff]")
_CONTRACTION = re.compile(
    r"\w['\u2019](?:t|s|re|ve|ll|d|m)\b|\b(?:gonna|wanna|gotta|kinda|ain't|y'all)\b", re.IGNORECASE
)
_SLANG = re.compile(r"\b(?:lol|lmao|omg|btw|thx|plz|dude|bro|yeah|hey|gonna|wanna|gotta|kinda)\b", re.IGNORECASE)
_MARKDOWN = re.compile(r"\*\*[^*\n]+\*\*|^#{1,6} \S|^\s*[-*] \S|\[[^\]\n]+\]\(\S+\)|^\|.*\|$|```", re.MULTILINE)
_STRONG = {
    1: "is all in capitals",
    2: "has no capital letter",
    4: "has emoji",
    8: "uses Markdown",
    16: "uses slang",
}
"""traits that make an outlier by themselves"""
_LOUD = {1: _STRONG[1]}
"""what stands out among answers of any kind"""
_WEAK = {32: "has several exclamation marks", 64: "uses contractions", 128: "does not end with punctuation"}
"""traits of which two are needed: every writer uses one now and then"""
_WEAK_NEEDED = 2
_SHOUT = 2
"""exclamation marks of an answer that has several"""
_FIX = "Write the answer in the style of the others, or remove the row."


class Style:
    """Traits of the answers in sentences, one small number a row."""

    def __init__(self) -> None:
        self._traits = array("B")
        self._lengths = array("f")
        """natural logarithm of the characters"""
        self._lines = array("q")

    def add(self, batch: Batch) -> list[Problem]:
        known = facts(batch)
        rows = known.answers.prose[known.answers.places]
        if rows.any():
            places = known.answers.places[rows]
            self._traits.frombytes(_traits(known.answers)[places].tobytes())
            lengths = np.log(np.maximum(known.answers.screen.lengths[places], 1)).astype(np.float32)
            self._lengths.frombytes(lengths.tobytes())
            self._lines.frombytes(known.lines[rows].tobytes())
        return []

    def finish(self) -> list[Problem]:
        n = len(self._traits)
        if n < _LEAST:
            return []
        traits = np.frombuffer(self._traits, np.uint8)
        notes: dict[int, list[str]] = {}
        weak = np.zeros(n, np.int64)
        rare = {}
        spread = self._length()[1]
        for bit, name in ({**_STRONG, **_WEAK} if spread <= _ONE_STYLE else _LOUD).items():
            has = (traits & bit) != 0
            if 0 < has.sum() <= (1 - _ALIKE) * n:
                rare[bit] = f"{name}, as {percent(float(has.sum()), n)} of the answers"
                weak += has & (bit in _WEAK)
        for bit, note in rare.items():
            for place in np.flatnonzero(((traits & bit) != 0) & ((bit in _STRONG) | (weak >= _WEAK_NEEDED))).tolist():
                notes.setdefault(place, []).append(note)
        for place, note in self._length_outliers():
            notes.setdefault(place, []).append(note)
        return [
            warning("style_outlier", "the answer " + "; it ".join(notes[place]), _FIX, self._lines[place], "assistant")
            for place in sorted(notes)
        ]

    def _length(self) -> tuple[float, float]:
        """Median and robust spread of the logarithm of the length.

        From the median absolute deviation, as in the modified z value of Iglewicz & Hoaglin 1993.
        """
        lengths = np.frombuffer(self._lengths, np.float32)
        middle = float(np.median(lengths))
        return middle, max(_LEAST_SPREAD, _NORMAL * float(np.median(np.abs(lengths - middle))))

    def _length_outliers(self) -> list[tuple[int, str]]:
        lengths = np.frombuffer(self._lengths, np.float32)
        middle, spread = self._length()
        away = np.abs(lengths - middle)
        usual = round(float(np.exp(middle)))
        found = []
        for place in np.flatnonzero((away / spread > _Z) & (away > np.log(_FACTOR))).tolist():
            size = round(float(np.exp(lengths[place])))
            found.append((place, f"has {size} characters, where {usual} are usual"))
        return found


def _traits(answers: Texts) -> npt.NDArray[np.uint8]:
    """The traits of each different answer as bits."""
    screen, texts = answers.screen, answers.texts
    upper, lower = screen.count(UPPER), screen.count(LOWER)
    latin = upper + lower >= np.maximum(_LETTERS, answers.letters / 2)
    traits = np.where(latin & (lower == 0), 1, 0) | np.where(latin & (upper == 0), 2, 0)
    traits |= np.where(screen.count("!！") >= _SHOUT, 32, 0)
    traits |= np.where(~answers.closed, 128, 0)
    for place in np.flatnonzero(screen.holding("**", "##", "](", "- ", "* ", "|", "```")).tolist():
        traits[place] |= 8 if _MARKDOWN.search(texts[place]) else 0
    for place in np.flatnonzero(screen.holding_folded(*_SLANG_HINTS)).tolist():
        traits[place] |= 16 if _SLANG.search(texts[place]) else 0
    for place in np.flatnonzero(screen.count("'\u2019") >= _SHOUT).tolist():
        traits[place] |= 64 if len(_CONTRACTION.findall(texts[place])) >= _SHOUT else 0
    if not screen.is_ascii:
        for place, text in enumerate(texts):
            if not text.isascii() and _EMOJI.search(text):
                traits[place] |= 4
    return traits.astype(np.uint8)


_SLANG_HINTS = (
    "lol",
    "lmao",
    "omg",
    "btw",
    "thx",
    "plz",
    "dude",
    " bro",
    "yeah",
    "hey",
    "onna",
    "anna",
    "gotta",
    "kinda",
)
