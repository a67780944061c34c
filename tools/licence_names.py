"""Names of licences and teachers as people write them: one spelling for each, and the dated row that it means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from knowledge.load import licences
from knowledge.rows import LicenceRow

LLAMA = re.compile(r"llama-?(\d(?:\.\d)?)(?![\d.]|b\b)", re.IGNORECASE)
HUB_IDS = re.compile(
    r"llama3\.[13]|apache-2\.0|mit|gemma|cc0-1\.0|odc-by"
    r"|(?:creativeml-|bigscience-|bigcode-)openrail-m|openrail(?:\+\+)?|bigscience-bloom-rail-1\.0"
    r"|cc-by-[2-4]\.0|cc-by-2\.5|cc-by-sa-[34]\.0|cc-by-nc-[2-4]\.0|cc-by-nc-sa-[2-4]\.0"
)
"""names that the hub's cards know as they are"""
LONGEST = 200
"""characters of a name that is looked at"""
CC_LINK = re.compile(
    r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)(?:/(\d\.\d))?(?:/([a-z]{2,3})\b)?[^\s)]*"
)
LINKS = (
    (re.compile(r"(?:https?://)?(?:www\.)?apache\.org/licenses/license-(2\.0)(?:\.txt|\.html)?/?"), r"apache-\1"),
    (re.compile(r"(?:https?://)?(?:www\.)?opensource\.org/licen[sc]es?/([\w.-]+?)(?:\.php)?/?"), r"\1"),
)
EMPTY = re.compile(r"\b(?:the|licen[sc]e|version|agreement|gnu|spdx)\b")
"""words of a licence's name that tell nothing"""
LONG_WORDS = (
    (re.compile(r"creative[\s_-]*commons"), " cc "),
    (re.compile(r"non[\s_-]*commercial"), " nc "),
    (re.compile(r"non?[\s_-]*deriv[a-z]*"), " nd "),
    (re.compile(r"share[\s_-]*alike"), " sa "),
    (re.compile(r"attribution"), " by "),
    (re.compile(r"\bcc[\s_-]*(?:0|zero)\b"), " cc zero "),
)
"""the elements of a Creative Commons licence, written out"""
ELEMENT = re.compile(r"(?:cc|by|nc|nd|sa)+")
SAYS_NOTHING = {"international", "unported", "generic", "licence", "license", "public", "domain", "dedication", "the",
                "version", "deed", "universal", "v", "works", "legal", "code", "legalcode"}  # fmt: skip
VERSION = re.compile(r"\d(?:\.\d)?")


def row_of(name: str | None, kind: str) -> LicenceRow | None:
    """The row that a name means; None where none is known. A teacher's family goes before who serves it."""
    said = canonical(name) if kind == "licence" else spaced(name)
    for each in [said] if kind == "licence" else parts(said):
        found = (row for row in licences() if row.kind == kind and any(re.fullmatch(p, each, re.I) for p in row.names))
        if each and (row := next(found, None)):
            return row
    return None


def canonical(name: str | None) -> str:
    """A licence's name in one spelling, `CC BY-NC 4.0` as cc-by-nc-4.0; of what is no licence some text without row."""
    said = small(name)
    if found := creative_commons(said):
        return found
    for pattern, short in LINKS:
        if match := pattern.fullmatch(said):
            said = match.expand(short)
    said = re.sub(r"(?<=\d)[-_](?=\d)", ".", EMPTY.sub(" ", spaced(said).replace("-", " ")).replace(" ", "-"))
    return re.sub(r"(?<![a-z])v(?=\d)", "", re.sub(r"[-,]+", "-", said)).strip("-")


def creative_commons(said: str) -> str | None:
    """cc-by[-nc][-nd|-sa][-VERSION[-PORT]] or cc0-1.0. None for any other name.

    A name that holds ND among words that nobody knows is one without derivatives all the same: the safe side.
    """
    text = CC_LINK.sub(lambda match: f" cc {match[1]} {match[2] or ''} {match[3] or ''} ", said)
    text = re.sub(r"https?://(?:www\.)?", " ", text)
    for pattern, short in LONG_WORDS:
        text = pattern.sub(short, text)
    text = re.sub(r"(?<=\d)[-_](?=\d)", ".", text)
    tokens = re.findall(r"[a-z]+|\d+(?:\.\d+)*|[^\s_\-,;:()/.]", text)
    elements = {part for each in tokens if ELEMENT.fullmatch(each) for part in re.findall("cc|by|nc|nd|sa", each)}
    versions = {f"{each}.0" if len(each) == 1 else each for each in tokens if VERSION.fullmatch(each)}
    rest = [each for each in tokens if not ELEMENT.fullmatch(each) and not VERSION.fullmatch(each)]
    rest = list(dict.fromkeys(each for each in rest if each not in SAYS_NOTHING))
    if "cc" not in elements and not ("by" in elements and (versions or len(elements) > 1)):
        return None
    if "zero" in rest:
        return "cc0-1.0" if rest == ["zero"] and elements == {"cc"} and versions <= {"1.0"} else None
    port = rest[0] if versions and rest == tokens[-1:] and re.fullmatch(r"[a-z]{2}|igo", rest[0]) else ""
    if (rest and not port) or len(versions) > 1:
        return "cc-by-nd" if "nd" in elements else None
    kept = [each for each in ("nc", "nd", "sa") if each in elements and not (each == "sa" and "nd" in elements)]
    if "by" not in elements and "nd" not in elements:
        return None
    return "-".join(["cc-by", *kept, *sorted(versions), *([port] if port else [])])


def spaced(name: str | None) -> str:
    """In small letters, with - for spaces and underscores."""
    return re.sub(r"[\s_-]+", "-", small(name))


def small(name: str | None) -> str:
    """In small letters, with plain dashes and spaces."""
    text = unicodedata.normalize("NFKC", (name or "")[:LONGEST])
    return re.sub("[\u2010-\u2015\u2212]", "-", text).strip().lower()


def parts(teacher: str) -> Iterator[str]:
    """The whole name, then what stands between / and :, the last first: the provider is the last resort."""
    yield teacher
    yield from reversed(re.split(r"[/:]", teacher))


def of_version(name: str | None, model: str) -> str | None:
    """The Llama licence of a model by the version in the model's name, where the licence's own name has none."""
    found = LLAMA.search(model)
    return f"llama{found[1]}" if canonical(name) == "llama-community" and found else name


def spelled(name: str | None, row: LicenceRow | None) -> str | None:
    """A licence as the hub spells it: `other` for one that has a row and no word of the hub's."""
    said = canonical(name)
    if row is not None and row.id == "llama-community" and (version := LLAMA.search(said)):
        said = f"llama{version[1]}"
    if HUB_IDS.fullmatch(said):
        return said
    if row is None or (said.startswith("cc-by") and said != row.hub):
        return None if row is None else "other"
    return row.hub
