"""How close an answer is in style to the training answers: punctuation, case, length, 3-grams, function words.

Right or wrong content is not judged here: another label of the same label set is a perfect match in style.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

PAIRS = 500
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
LEAST_USUAL = 0.05
"""keeps a profile of wildly different answers from calling everything a match"""


@dataclass(frozen=True)
class StyleProfile:
    """What the training answers look like, and how alike they are to one another.

    The five `usual_` fields, in 0..1, are the floor that people's own answers set: an output as close to the expected
    answer as two training answers usually are to each other loses nothing.
    """

    texts: int
    grams: Mapping[str, int]
    """character 3-grams of all training answers, in lower case, counted"""
    norm: float
    """Euclidean norm of the counts"""
    small_words: Mapping[str, int]
    """function words of all training answers, counted: they tell a writer apart (Burrows 2002)"""
    small_norm: float
    usual_punctuation: float
    usual_case: float
    usual_length: float
    usual_grams: float
    usual_small_words: float
    human: float | None = None
    """the style match of two training answers in the median: what people reach among themselves"""


def profile(texts: list[str]) -> StyleProfile:
    """The style of `texts`. Without texts nothing is usual, and outputs are held against the expected answer alone."""
    texts = [text.strip() for text in texts if text.strip()]
    grams, small = Counter[str](), Counter[str]()
    for text in texts:
        grams.update(trigrams(text))
        small.update(small_words(text))
    step = max(1, len(texts) // PAIRS)
    chosen = texts[::step][: PAIRS + 1]
    pairs = [(a, b) for a, b in itertools.pairwise(chosen) if a != b]
    whole, small_norm = norm(grams), norm(small)
    found = StyleProfile(
        texts=len(texts),
        grams=MappingProxyType(dict(grams)),
        norm=whole,
        usual_punctuation=_usual([punctuation_match(a, b) for a, b in pairs]),
        usual_case=_usual([case_match(a, b) for a, b in pairs]),
        usual_length=_usual([length_match(a, b) for a, b in pairs]),
        usual_grams=_usual([cosine(trigrams(text), grams, whole) for text in chosen]),
        small_words=MappingProxyType(dict(small)),
        small_norm=small_norm,
        usual_small_words=_usual([small_words_match(small_words(text), small, small_norm) for text in chosen]),
    )
    among = [style_match(a, b, found) for a, b in pairs]
    return replace(found, human=statistics.median(among) if among else None)


def style_match(output: str, expected: str, profile: StyleProfile) -> float:
    """0..1: the mean of five parts, each divided by what is usual among the training answers and cut at 1.

    Equal texts give 1.0, an empty output 0.0. The parts on 3-grams and on function words ask how much the output reads
    like all training answers together (or like the expected one, where that is more).
    """
    output, expected = output.strip(), expected.strip()
    if not output:
        return 0.0
    if output == expected:
        return 1.0
    grams, target = trigrams(output), trigrams(expected)
    small, wanted = small_words(output), small_words(expected)
    parts = (
        punctuation_match(output, expected) / profile.usual_punctuation,
        case_match(output, expected) / profile.usual_case,
        length_match(output, expected) / profile.usual_length,
        max(cosine(grams, profile.grams, profile.norm) / profile.usual_grams, cosine(grams, target, norm(target))),
        max(
            small_words_match(small, profile.small_words, profile.small_norm) / profile.usual_small_words,
            small_words_match(small, wanted, norm(wanted)),
        ),
    )
    return statistics.fmean(min(1.0, part) for part in parts)


def punctuation_match(a: str, b: str) -> float:
    """0..1: overlap of the marks per character (sum of minima over sum of maxima), averaged with the same last mark."""
    left, right = _marks(a), _marks(b)
    keys = left.keys() | right.keys()
    most = sum(max(left.get(key, 0.0), right.get(key, 0.0)) for key in keys)
    least = sum(min(left.get(key, 0.0), right.get(key, 0.0)) for key in keys)
    overlap = least / most if most else 1.0
    return (overlap + (_last_mark(a) == _last_mark(b))) / 2


def case_match(a: str, b: str) -> float:
    """0..1: one minus the mean difference of three shares: capitals, capitalised words, capital at the start."""
    return 1 - statistics.fmean(abs(x - y) for x, y in zip(_case(a), _case(b), strict=True))


def length_match(a: str, b: str) -> float:
    """0..1: the shorter length over the longer, in characters."""
    return min(len(a), len(b)) / max(len(a), len(b), 1)


def trigrams(text: str) -> Counter[str]:
    """Character 3-grams in lower case, digits as `0`, with a space before and after so that short labels count."""
    plain = " " + "".join("0" if each.isdigit() else each for each in text.lower()) + " "
    return Counter(plain[start : start + 3] for start in range(len(plain) - 2))


@cache
def function_words() -> frozenset[str]:
    """Function words of the languages that bm25s lists (a dependency for retrieval): English and eleven others."""
    from bm25s import stopwords

    lists = [value for name, value in vars(stopwords).items() if name.startswith("STOPWORDS_")]
    return frozenset(word for each in lists for word in each)


def small_words(text: str) -> Counter[str]:
    known = function_words()
    return Counter(word for word in _WORD.findall(text.lower()) if word in known)


def small_words_match(a: Mapping[str, int], b: Mapping[str, int], norm_b: float) -> float:
    """Their cosine; 1 where neither has any, as with labels."""
    return cosine(a, b, norm_b) if a and b else float(not a and not b)


def norm(counts: Mapping[str, int]) -> float:
    """The Euclidean norm of the counts."""
    return math.sqrt(sum(count * count for count in counts.values()))


def cosine(a: Mapping[str, int], b: Mapping[str, int], norm_b: float) -> float:
    """The cosine of two counts, 0..1; 0 where one of them is empty. `norm_b` saves summing a large `b` again."""
    product = sum(count * b.get(gram, 0) for gram, count in a.items())
    norms = norm(a) * norm_b
    return product / norms if norms else 0.0


def _usual(values: list[float]) -> float:
    return max(LEAST_USUAL, statistics.median(values)) if values else 1.0


def _is_mark(character: str) -> bool:
    return character == "\n" or unicodedata.category(character)[0] in "PS"


def _marks(text: str) -> dict[str, float]:
    counts = Counter(character for character in text if _is_mark(character))
    return {mark: count / len(text) for mark, count in counts.items()}


def _last_mark(text: str) -> str:
    return text[-1] if text and _is_mark(text[-1]) else ""


def _case(text: str) -> tuple[float, float, float]:
    letters = [each for each in text if each.isalpha()]
    words = [each for each in text.split() if each[0].isalpha()]
    if not letters:
        return (0.0, 0.0, 0.0)
    capitals = sum(each.isupper() for each in letters) / len(letters)
    capitalised = sum(each[0].isupper() for each in words) / len(words) if words else 0.0
    return (capitals, capitalised, float(letters[0].isupper()))
