"""What a model's folder, or a card beside the data, says of its own licence. It is data: a name, or nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from executor.model_cache import prepared_folder
from executor.spec import ModelSpec
from knowledge.load import models
from knowledge.rows import LicenceRow
from tools.licence_names import canonical, row_of

FIRST = 65_536
"""characters of a card that are read"""
NAME = re.compile(r"[\w.+ /:-]{1,60}")
TITLES = (
    (re.compile(r"(?:meta )?llama (\d(?:\.\d)?) community license(?: agreement)?", re.IGNORECASE), r"llama\1"),
    (re.compile(r"(?:the )?apache license,? (?:version )?2\.0(?:,? january 2004)?", re.IGNORECASE), "apache-2.0"),
    (re.compile(r"gemma terms of use(?: last modified.*)?", re.IGNORECASE), "gemma"),
    (re.compile(r"(?:the )?mit license(?: \(mit\))?", re.IGNORECASE), "mit"),
    (re.compile(r"permission is hereby granted, free of charge, .*", re.IGNORECASE), "mit"),
)
"""the titles of licence texts, in one line or two, and the licence's name"""
ADDED = re.compile(r"commons clause|non-?commercial", re.IGNORECASE)
"""words of none of these texts: something was added"""


def base_licence(model: ModelSpec) -> tuple[str | None, str | None]:
    """(licence, where it was found): the catalogue, or the card or licence text in the model's folder."""
    if model.licence:
        known = any(row.name == model.name for row in models())
        return model.licence, "the catalogue" if known else "the model's card on the hub"
    folder = prepared_folder(model)
    if said := said_in(folder / "README.md"):
        return said, "README.md of the model"
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        if said := titled(beginning(folder / name)):
            return said, f"{name} of the model"
    return None, None


def card_beside(data: Path | None) -> tuple[str | None, str | None]:
    """(licence, where it was found) of a dataset card beside the file; a card that names other files is not its."""
    if data is None:
        return None, None
    file = data / "README.md" if data.is_dir() else data.with_name("README.md")
    front = front_matter(file)
    if "base_model" in front or "library_name" in front:
        return None, None
    named = yaml.safe_dump(front.get("configs") or "")
    if front.get("configs") and not data.is_dir() and data.name not in named:
        return None, None
    said = said_in(file)
    return (said, "README.md beside the data") if said else (None, None)


def said_in(card: Path) -> str | None:
    """The `license` of a card's front matter: data, a short name or nothing; of several the strictest."""
    front = front_matter(card)
    said = front.get("license", front.get("licenses"))
    said = front.get("license_name") if said == "other" else said
    several = [named(each) for each in said] if isinstance(said, list) else [named(said)]
    return strictest(several) if several else None


def named(said: Any) -> str | None:
    """A name that is short, or one of a licence with a row, in our own spelling; else None."""
    if not isinstance(said, str) or said == "unknown":
        return None
    return said if NAME.fullmatch(said) else canonical(said) if row_of(said, "licence") else None


def strictest(several: list[str | None]) -> str | None:
    """One licence that asks all that the others ask, or all of their names; None where one of them cannot be told."""
    rows = {each: row_of(each, "licence") for each in several}
    if blocked := [each for each, row in rows.items() if row and row.ship == "no"]:
        return blocked[0]
    if None in rows:
        return None
    known = [(each, row) for each, row in rows.items() if row]
    most = [each for each, row in known if all(covers(row, other) for _, other in known)]
    return most[0] if most and len(known) == len(rows) else " and ".join(each for each in rows if each)


def covers(row: LicenceRow, other: LicenceRow) -> bool:
    """Whether who keeps to the one keeps to the other, as far as their rows tell."""
    if row.id == other.id or other.ship == "yes":
        return True
    of_a_kind = canonical(row.id).startswith("cc-by") and canonical(other.id).startswith("cc-by")
    alike = bool(row.share_alike) >= bool(other.share_alike)
    return of_a_kind and alike and (row.commercial is False or other.commercial is not False)


def titled(text: str) -> str | None:
    """The licence that a text is by its own title, which stands first; words further down tell nothing."""
    if ADDED.search(text):
        return None
    lines = [line.strip(" \t#*=-_") for line in text.lstrip("\ufeff").splitlines()]
    title = [line for line in lines if line and not re.match(r"(?:copyright|\(c\)|©)", line, re.IGNORECASE)][:2]
    for pattern, licence in TITLES:
        for head in (*title[:1], " ".join(title)):
            if match := pattern.fullmatch(head):
                return match.expand(licence).lower()
    return None


def front_matter(card: Path) -> dict[str, Any]:
    match = re.match(r"---\r?\n(.*?)\r?\n---", beginning(card), re.DOTALL)
    try:
        found = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def beginning(file: Path) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as text:
            return text.read(FIRST)
    except OSError:
        return ""
