"""Questions in other languages: which language it is, and its field words in English for the search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from knowledge.load import read_yaml

LEAST_SIGNS = 2
"""So many function words tell a language that is written in Latin letters."""

SHARE = 0.15
"""And at least this share of the words."""

SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
)
"""Languages told by their script, the most telling first: Japanese holds Chinese characters too."""


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
    best = max(found, key=lambda code: found[code], default=None)
    if best is None or found[best] < max(LEAST_SIGNS, SHARE * len(words)):
        return None
    return known[best]


def in_english(text: str, language: Language) -> str:
    """The field words of the text in English, in their order, with the names and Latin words that stand in it."""
    lower, found = text.lower(), []
    for stem, english in language.glossary:
        at = lower.find(stem)
        while at >= 0:
            found.append((at, english))
            lower = lower[:at] + " " * len(stem) + lower[at + len(stem) :]
            at = lower.find(stem, at)
    names = re.finditer(r"[A-Za-z0-9]*(?:[A-Z0-9_][a-z0-9.+-]*){2,}|[A-Za-z]+[0-9_][A-Za-z0-9_.+-]*", text)
    found += [(match.start(), match.group().rstrip(".")) for match in names]
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
