"""Cheap facts about many texts at once, so that slow searches run only on the texts that can match.

All texts are joined to one buffer with one byte a character; one pass over it counts a class of characters in every
text. Nothing here judges: a fact only rules texts out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
DIGITS = "0123456789"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"  # noqa: S105 (an alphabet)
"""the characters of base64url, which nearly every key is made of"""
BRACKETS = "{}[]<>"
_END = "\0"
"""stands behind every text, so that no search runs from one into the next"""
_OTHER = 255
"""the byte of every character from U+00FF on"""
_CHAIN_GAP = 4
"""signs between two digits of one number: ") - " is the longest that is usual"""
_CHAIN = {**dict.fromkeys(b"0123456789", 1), **dict.fromkeys(b" ()./-\xa0\xff", 2)}
"""digits 1, signs between digits 2, all others 0"""
_PIECE = 1 << 20
"""characters looked at in one pass, so that positions (8 bytes each) never fill the memory"""


class Screen:
    """Facts about texts; arrays have one entry a text, are computed when first asked for, and are kept."""

    def __init__(self, texts: Sequence[str]) -> None:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        self.texts = texts
        self.lengths: Counts = lengths
        """characters"""
        self._joined = _END.join(texts) + _END if texts else ""
        self._stops: Counts = np.cumsum(lengths + 1)
        """one past the end mark of each text"""
        self._kept: dict[tuple[str, str], Counts] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def everywhere(self) -> Mask:
        return np.ones(len(self), np.bool_)

    def holding(self, *words: str) -> Mask:
        """Which texts hold any of the words, as they are written."""
        return self._holding(self._joined, words)

    def holding_folded(self, *words: str) -> Mask:
        """Which texts hold any of the words, given in lower case, in whatever case."""
        return self._holding(self._lower, words)

    def count(self, characters: str) -> Counts:
        """How many of these characters each text has; those from U+00FF on count as one and the same character."""
        return self._cached("count", characters)

    def longest(self, characters: str) -> Counts:
        """Length of the longest run of these characters in each text."""
        return self._cached("longest", characters)

    @property
    def digits(self) -> Counts:
        """How many of 0-9 each text has."""
        return self.count(DIGITS)

    @cached_property
    def digit_chain(self) -> Counts:
        """The most digits in each text that follow each other with at most four spaces, dots, dashes or such between.

        Whatever stands beyond U+00FE counts as such a sign, so that no number is cut short.
        """
        table, longest = bytes(_CHAIN.get(byte, 0) for byte in range(256)), np.zeros(len(self), np.int64)
        for first, last, begin, end in self._pieces():
            kinds = np.frombuffer(self._bytes[begin:end].translate(table), np.uint8)
            places = np.flatnonzero(kinds == 1)
            if not len(places):
                continue
            others = np.cumsum(kinds == 0, dtype=np.int32)[places]
            breaks = np.flatnonzero((np.diff(places) > _CHAIN_GAP + 1) | (np.diff(others) > 0)) + 1
            starts = np.concatenate(([0], breaks))
            sizes = np.diff(starts, append=len(places))
            owners = first + np.searchsorted(self._stops[first:last] - begin, places[starts], side="right")
            np.maximum.at(longest, owners, sizes)
        return longest

    def beside(self, *sequences: tuple[str, ...]) -> Mask:
        """Which texts hold one of these sequences: a character of each class, one behind the other."""
        mask = np.zeros(len(self), np.bool_)
        for first, last, begin, end in self._pieces():
            block, classes = self._bytes[begin:end], {each for sequence in sequences for each in sequence}
            of = {each: _translated(block, _table(each)) for each in classes}
            for sequence in sequences:
                hits = of[sequence[0]][: len(block) - len(sequence) + 1].copy()
                for offset, each in enumerate(sequence[1:], 1):
                    hits &= of[each][offset : offset + len(hits)]
                owners = np.searchsorted(self._stops[first:last] - begin, np.flatnonzero(hits), side="right")
                mask[first + owners] = True
        return mask

    def matching(self, pattern: re.Pattern[str], among: Mask, *, folded: bool = False) -> Mask:
        """Which of these texts, or of their lower case, a pattern that never matches the end mark is found in."""
        mask, places = np.zeros(len(self), np.bool_), np.flatnonzero(among)
        texts = [self.texts[place].lower() if folded else self.texts[place] for place in map(int, places)]
        joined = _END.join(texts)
        stops = list(accumulate(len(text) + 1 for text in texts))
        at = 0
        while found := pattern.search(joined, at):
            number = bisect_right(stops, found.start())
            mask[places[number]] = True
            at = stops[number]
        return mask

    @property
    def non_ascii(self) -> Counts:
        return self.count("".join(map(chr, range(128, 256))))

    @property
    def brackets(self) -> Counts:
        return self.count(BRACKETS)

    @property
    def long_token(self) -> Counts:
        """Length of the longest run of characters that keys are made of."""
        return self.longest(TOKEN)

    @cached_property
    def has_at(self) -> Mask:
        return self.holding("@")

    @cached_property
    def is_ascii(self) -> bool:
        """Whether every text is."""
        return self._joined.isascii()

    @cached_property
    def _lower(self) -> str:
        # İ is the only character whose lower case has another length
        return self._joined.lower() if self.is_ascii else self._joined.replace("\u0130", "i").lower()

    @cached_property
    def _bytes(self) -> bytes:
        """One byte a character: its code point up to U+00FE, else 255."""
        if self.is_ascii:
            return self._joined.encode("ascii")
        blocks = []
        for at in range(0, len(self._joined), _PIECE):
            wide = self._joined[at : at + _PIECE].encode("utf-32-le", "surrogatepass")
            blocks.append(np.minimum(np.frombuffer(wide, "<u4"), _OTHER).astype(np.uint8).tobytes())
        return b"".join(blocks)

    @cached_property
    def _stop_list(self) -> list[int]:
        return list(map(int, self._stops))

    def _holding(self, joined: str, words: Sequence[str]) -> Mask:
        mask = np.zeros(len(self), np.bool_)
        for word in words:
            at = joined.find(word)
            while at >= 0:
                place = bisect_right(self._stop_list, at)
                mask[place] = True
                at = joined.find(word, self._stop_list[place])
        return mask

    def _cached(self, what: str, characters: str) -> Counts:
        if (what, characters) not in self._kept:
            self._kept[what, characters] = self._counts(characters) if what == "count" else self._runs(characters)
        return self._kept[what, characters]

    def _counts(self, characters: str) -> Counts:
        table, totals = _table(characters), np.zeros(len(self), np.int64)
        for first, last, begin, end in self._pieces():
            places = np.flatnonzero(_translated(self._bytes[begin:end], table))
            upto = np.searchsorted(places, self._stops[first:last] - begin)
            totals[first:last] = np.diff(upto, prepend=0)
        return totals

    def _runs(self, characters: str) -> Counts:
        table, longest = _table(characters, inside=False), np.zeros(len(self), np.int64)
        for first, last, begin, end in self._pieces():
            breaks = np.flatnonzero(_translated(self._bytes[begin:end], table))
            runs = np.diff(breaks, prepend=-1) - 1
            lead = np.searchsorted(breaks, self._stops[first:last] - begin)
            # the end mark is a break itself, so that every text has one and no run is shared
            longest[first:last] = np.maximum.reduceat(runs, np.concatenate(([0], lead[:-1])))
        return longest

    def _pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """(first text, last text + 1, first byte, last byte + 1) of runs of whole texts of about one piece."""
        first = begin = 0
        while first < len(self):
            last = max(first + 1, int(np.searchsorted(self._stops, begin + _PIECE)))
            end = self._stop_list[last - 1]
            yield first, last, begin, end
            first, begin = last, end


def _table(characters: str, *, inside: bool = True) -> bytes:
    wanted = {min(ord(each), _OTHER) for each in characters}
    return bytes((byte in wanted) is inside for byte in range(256))


def _translated(block: bytes, table: bytes) -> Mask:
    # bytes.translate looks a byte up twice as fast as an index into a numpy table
    return np.frombuffer(block.translate(table), np.bool_)
