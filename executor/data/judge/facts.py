"""What several judges want to know about a batch, found out once."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from executor.data.batch import Batch
from executor.data.screen import Screen

Mask = npt.NDArray[np.bool_]
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOWER = "abcdefghijklmnopqrstuvwxyz"
_WIDE = "".join(map(chr, range(0xC0, 0x100)))
"""letters beyond ASCII; every character from U+00FF on counts as the last of them"""
_FINAL = ".!?…。！？｡।؟۔\"'”’»」』)]}）】*_`~"
"""characters that end a finished answer: punctuation, and what closes a quotation, a bracket or an emphasis"""
_SYMBOLS = 0x2190
"""code point from which on arrows, signs and emoji stand; letters of other scripts from U+2E80 on are none of them"""
_FEW_WORDS = 4
_LETTERS = 0.75
"""share of letters and spaces that prose has at least"""


class Texts:
    """The different texts of a column, and where each entry's text stands among them."""

    def __init__(self, column: Sequence[str]) -> None:
        index: dict[str, int] = {}
        self.places: npt.NDArray[np.int64] = np.array(
            [index.setdefault(text, len(index)) for text in column], dtype=np.int64
        )
        """for each entry the position of its text in `texts`"""
        self.texts = list(index)

    @cached_property
    def screen(self) -> Screen:
        return Screen(self.texts)

    @cached_property
    def letters(self) -> npt.NDArray[np.int64]:
        """Letters of each text."""
        return self.screen.count(UPPER + LOWER + _WIDE)

    @cached_property
    def spaces(self) -> npt.NDArray[np.int64]:
        return self.screen.count(" ")

    @cached_property
    def prose(self) -> Mask:
        """Which texts are sentences rather than labels, numbers, code or markup."""
        screen = self.screen
        worded = self.spaces >= _FEW_WORDS - 1
        if not screen.is_ascii:  # scripts without spaces
            worded |= (screen.non_ascii >= 3 * _FEW_WORDS) & (2 * screen.non_ascii >= screen.lengths)
        plain = np.array([text[:1] not in "{[<`|#" for text in self.texts], dtype=np.bool_)
        mask: Mask = worded & plain & (self.letters + self.spaces >= _LETTERS * screen.lengths)
        return mask

    @cached_property
    def closed(self) -> Mask:
        """Which texts end as a finished text does, so far as the last character tells."""
        tails = "".join([text[-1:] or " " for text in self.texts])
        codes = np.frombuffer(tails.encode("utf-32-le", "surrogatepass"), "<u4")
        signs = (codes >= _SYMBOLS) & ((codes < 0x2E80) | (codes >= 0x1F000)) | (codes == 0xFE0F)
        final: Mask = np.isin(codes, [ord(each) for each in _FINAL]) | signs
        return final


class Facts:
    """Columns of one batch, each looked at when first asked for."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @cached_property
    def texts(self) -> Texts:
        """Every text of every role."""
        return Texts(self._batch.texts)

    @cached_property
    def answers(self) -> Texts:
        return Texts(self._batch.answers)

    @cached_property
    def lines(self) -> npt.NDArray[np.int64]:
        return np.array(self._batch.lines, dtype=np.int64)


class _Last:
    """The facts of the batch that was looked at last."""

    batch: weakref.ref[Batch] | None = None
    size = (0, 0)
    facts: Facts | None = None


def _forget(batch: weakref.ref[Batch]) -> None:
    """Let the columns go with their batch."""
    if _Last.batch is batch:
        _Last.batch = _Last.facts = None


def facts(batch: Batch) -> Facts:
    """The facts of a batch; judges that look at the same batch one after the other share them."""
    size = (len(batch.lines), len(batch.texts))
    if _Last.facts is None or _Last.batch is None or _Last.batch() is not batch or _Last.size != size:
        # the facts hold a copy of the columns' lists only, so that the weak reference can die
        columns = Batch(lines=batch.lines, answers=batch.answers, asked=batch.asked, texts=batch.texts)
        _Last.batch, _Last.size, _Last.facts = weakref.ref(batch, _forget), size, Facts(columns)
    return _Last.facts
