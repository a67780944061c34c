"""Questions in other languages: which language it is, and its field words in English for the search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from knowledge.load import read_yaml
from knowledge.search import subjects

LEAST_SIGNS = 2
"""So many function words tell a language that is written in Latin letters."""

LONG = 5
"""letters; a field word of so many tells a language together with one function word"""

SHARE = 0.15
"""And at least this share of the words."""

SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
)
"""Languages told by their script, the most telling first: Japanese holds Chinese characters too."""


UNSPACED = ("ja", "ko", "zh")
LATIN = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
NAME = re.compile(r"[A-Za-z0-9]*(?:[A-Z0-9_][a-z0-9.+-]*){2,}|[A-Za-z]+[0-9_][A-Za-z0-9_.+-]*")
"""A name amid words of a Latin script has two capitals, a digit or an underscore; or it is a product's."""


@dataclass(frozen=True)
class Language:
    code: str
    name: str
    note: str
    """in the language itself: what the offline advisor does about it"""
    signs: frozenset[str]
    glossary: tuple[tuple[str, str], ...]
    """stem or phrase, English term; the longest first"""


def detect(text: str) -> Language | None:
    """The language of a text that is not English; None for English and for what cannot be told."""
    known = _languages()
    letters = sum(character.isalpha() for character in text)
    for code, script in SCRIPTS:
        if letters and len(script.findall(text)) >= max(2, SHARE * letters) and code in known:
            return known[code]
    words = re.findall(r"[^\W\d_]+", text.lower())
    found = {code: sum(word in language.signs for word in words) for code, language in known.items()}
    best = max(found, key=lambda code: (found[code], len(own_terms(text, known[code]))), default=None)
    if best is None or not found[best] or found[best] < SHARE * len(words):
        return None
    enough = found[best] >= LEAST_SIGNS or own_terms(text, known[best])
    return known[best] if enough else None


def own_terms(text: str, language: Language) -> list[str]:
    """Field words of the language in the text that are no loan from English."""
    lower = text.lower()
    own = (stem for stem, english in language.glossary if len(stem) >= LONG and stem[:4] != english[:4])
    return [stem for stem in own if re.search(rf"(?<![^\W\d_]){re.escape(stem)}", lower)]


def in_english(text: str, language: Language) -> str:
    """The field words of the text in English, in their order, with the names that stand in it.

    A stem is found at the beginning of a word, in scripts without spaces anywhere. Where the script is not Latin, every
    Latin word counts as a name.
    """
    lower, found = text.lower(), []
    start = "" if language.code in UNSPACED else r"(?<![^\W\d_])"
    for stem, english in language.glossary:
        for match in re.finditer(start + re.escape(stem), lower):
            found.append((match.start(), english))
            lower = lower[: match.start()] + " " * len(stem) + lower[match.end() :]
    every = language.code in dict(SCRIPTS)
    words = ((match.start(), match.group().rstrip(".")) for match in LATIN.finditer(text))
    found += [(at, word) for at, word in words if every or NAME.fullmatch(word) or subjects(word)]
    return " ".join(dict.fromkeys(english for _, english in sorted(found)))


@cache
def _languages() -> dict[str, Language]:
    rows = read_yaml(Path(__file__).with_name("languages.yaml"))
    return {
        code: Language(
            code, row["name"], row["note"], frozenset(row["signs"]),
            tuple(sorted(row["glossary"].items(), key=lambda pair: -len(pair[0]))),
        )
        for code, row in rows.items()
    }  # fmt: skip
