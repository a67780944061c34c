"""Which texts speak of the same thing as a question: BM25 by bm25s (maintained, exact, in numpy, no server)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import bm25s
import Stemmer

_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+")
"""a word; scripts without spaces letter by letter"""


class Texts:
    """An index of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.stemmer = Stemmer.Stemmer("english")
        self.index = bm25s.BM25()
        words = [self.words(text) for text in texts]
        self.known = {word for each in words for word in each}
        if self.known:
            self.index.index(words, show_progress=False)

    def words(self, text: str) -> list[str]:
        found: list[str] = self.stemmer.stemWords(_WORD.findall(text.casefold()))
        return found

    def nearest(self, question: str, most: int) -> list[int]:
        """The places of the texts that share a word with the question, best first, at most `most`.

        On equal scores the earlier text comes first.
        """
        asked = [word for word in self.words(question) if word in self.known]
        if not asked or most < 1:
            return []
        scores = self.index.get_scores(asked)
        order = sorted(range(len(self.texts)), key=lambda place: (-scores[place], place))
        return [place for place in order[:most] if scores[place] > 0]
