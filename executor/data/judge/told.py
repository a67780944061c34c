"""The script and the language of a text, or None where it does not tell.

Scripts by Unicode blocks, languages of one script by their commonest words. The identifier would rather say nothing
than guess: labels, names and numbers have no language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

_WORD = re.compile(r"[^\W\d_]+")
_WORDS = 40
"""words of a text that are looked at"""
_HITS = 2
"""different common words that tell a language"""
_SCORE = 1.6
_LEAD = 1.4
"""times the score of the next language"""
_SHARE = 0.15
"""share of the words that are common ones; less is a foreign title in another text"""
_MAIN = 0.5
"""share of its letters that gives a text its script"""
_LEAST_LETTERS = 4

SCRIPTS = ("", "Latin", "Greek", "Cyrillic", "Hebrew", "Arabic", "Indic", "Thai", "Kana", "Han", "Hangul", "Armenian")
_BLOCKS = (
    (0x41, 0x5B, 1), (0x61, 0x7B, 1), (0xC0, 0x250, 1), (0x1E00, 0x1F00, 1), (0x370, 0x400, 2), (0x1F00, 0x2000, 2),
    (0x400, 0x530, 3), (0x530, 0x590, 11), (0x590, 0x600, 4), (0x600, 0x780, 5), (0xFB50, 0xFE00, 5), (0x900, 0xE00, 6),
    (0xE00, 0xE80, 7), (0x3040, 0x3100, 8), (0x3400, 0xA000, 9), (0x1100, 0x1200, 10), (0xAC00, 0xD7B0, 10),
)  # fmt: skip
_BY_SCRIPT = {"Greek": "el", "Hebrew": "he", "Thai": "th", "Kana": "ja", "Han": "zh", "Hangul": "ko", "Armenian": "hy"}
_OF_SCRIPT = {
    "Cyrillic": ("ru", "uk", "bg"),
    "Arabic": ("ar", "fa", "ur"),
    "Indic": (),
}
_SIGNS = {
    "ß": "de", "ñ": "es", "¿": "es", "¡": "es", "ã": "pt", "õ": "pt", "ł": "pl", "ę": "pl", "ą": "pl", "ż": "pl",
    "ř": "cs", "ě": "cs", "ů": "cs", "ț": "ro", "ș": "ro", "ă": "ro", "ő": "hu", "ű": "hu", "ğ": "tr", "ı": "tr",
    "ơ": "vi", "ư": "vi", "đ": "vi", "ạ": "vi", "і": "uk", "ї": "uk", "є": "uk", "ы": "ru", "э": "ru", "ъ": "bg",
    "پ": "fa", "گ": "fa", "ٹ": "ur", "ے": "ur",
}  # fmt: skip
"""letters that one of the languages has; each is worth half a common word"""
NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "pt": "Portuguese", "it": "Italian",
    "nl": "Dutch", "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "pl": "Polish", "cs": "Czech",
    "ro": "Romanian", "hu": "Hungarian", "tr": "Turkish", "id": "Indonesian", "vi": "Vietnamese", "ru": "Russian",
    "uk": "Ukrainian", "bg": "Bulgarian", "fa": "Persian", "ar": "Arabic", "ur": "Urdu", "el": "Greek",
    "he": "Hebrew", "th": "Thai", "ja": "Japanese", "zh": "Chinese", "ko": "Korean", "hy": "Armenian",
    "Indic": "an Indian language", "Cyrillic": "a language in Cyrillic script", "Arabic": "a language in Arabic script",
}  # fmt: skip
_KIN = ({"da", "no", "sv"}, {"es", "pt"}, {"ru", "uk", "bg", "Cyrillic"}, {"ar", "fa", "ur", "Arabic"}, {"zh", "ja"})
"""languages that a short text may leave open between"""


def language(text: str) -> str | None:
    """The code of the language (ISO 639-1), the script where only that is sure, or None."""
    if text.isascii() and " " not in text:
        return None
    script = "Latin" if text.isascii() else SCRIPTS[int(scripts([text])[0])]
    if script in _BY_SCRIPT:
        return _BY_SCRIPT[script]
    if script == "":
        return None
    return _by_words(text, script) or (script if script in _OF_SCRIPT else None)


def kin(one: str, other: str) -> bool:
    """Whether two languages are the same, or so near that a short text may not tell."""
    return one == other or any(one in family and other in family for family in _KIN)


def scripts(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each text the position in `SCRIPTS` of the script of most of its letters, 0 where none leads."""
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    table = _table()
    kinds = table[np.minimum(codes, len(table) - 1)].astype(np.int64)
    lengths = np.fromiter((len(text) + 1 for text in texts), np.int64, len(texts))
    owners = np.repeat(np.arange(len(texts)), lengths)
    width = len(SCRIPTS)
    counts = np.bincount(owners * width + kinds, minlength=len(texts) * width).reshape(len(texts), width)
    counts[:, 0] = 0
    # Japanese mixes Han with Kana: a text with a fifth of Kana is Japanese
    japanese = counts[:, 8] * 4 >= np.maximum(counts[:, 9], 1)
    counts[:, 8] += np.where(japanese, counts[:, 9], 0)
    counts[:, 9] = np.where(japanese, 0, counts[:, 9])
    total = counts.sum(axis=1)
    best = counts.argmax(axis=1)
    most = counts[np.arange(len(texts)), best]
    sure: npt.NDArray[np.int64] = np.where((most > _MAIN * total) & (total >= _LEAST_LETTERS), best, 0)
    return sure


def _by_words(text: str, script: str) -> str | None:
    words = dict.fromkeys(_WORD.findall(text[: 12 * _WORDS].lower())[:_WORDS])
    index = _index()
    scores: dict[str, float] = {}
    hits: dict[str, int] = {}
    for word in words:
        for code, weight in index.get(word, ()):
            scores[code] = scores.get(code, 0.0) + weight
            hits[code] = hits.get(code, 0) + 1
    if not text.isascii():
        for sign in _SIGNS.keys() & set(text.lower()):
            scores[_SIGNS[sign]] = scores.get(_SIGNS[sign], 0.0) + 0.5
    allowed = _OF_SCRIPT.get(script)
    ranked = sorted(((score, code) for code, score in scores.items() if _fits(code, allowed)), reverse=True)
    if not ranked:
        return None
    score, code = ranked[0]
    second = next((other for other, name in ranked[1:] if not kin(name, code)), 0.0)
    own = hits.get(code, 0)
    sure = own >= max(_HITS, _SHARE * len(words)) and score >= max(_SCORE, _LEAD * second)
    return code if sure else None


def _fits(code: str, allowed: tuple[str, ...] | None) -> bool:
    return code in allowed if allowed is not None else code not in _NOT_LATIN


_NOT_LATIN = frozenset({"ru", "uk", "bg", "ar", "fa", "ur"})


def common_words(code: str) -> tuple[str, ...]:
    """The commonest words of a language; none of one that its script tells."""
    return tuple(_lists().get(code, "").split())


@cache
def _lists() -> dict[str, str]:
    text = Path(__file__).with_name("stop_words.yaml").read_text("utf-8")
    # the base loader keeps every word a text: "no" and "on" are words here, not truth values
    lists: dict[str, str] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (makes texts only)
    return lists


@cache
def _index() -> dict[str, tuple[tuple[str, float], ...]]:
    """Each common word, the languages that have it, and what it is worth: less, the more of them."""
    owners: dict[str, list[str]] = {}
    for code, words in _lists().items():
        for word in dict.fromkeys(words.split()):
            owners.setdefault(word, []).append(code)
    return {word: tuple((code, 1 / len(codes)) for code in codes) for word, codes in owners.items()}


@cache
def _table() -> npt.NDArray[np.uint8]:
    """The script of each code point up to the end of the Korean syllables."""
    table = np.zeros(0x10000, np.uint8)
    for first, end, script in _BLOCKS:
        table[first:end] = script
    table[[0xD7, 0xF7]] = 0
    return table
