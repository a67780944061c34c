"""The chain of licences: what base model, data and teacher allow to be done with the tuned model, as read on a day.

Never legal advice: it says what the dated rows of `knowledge/facts/licences.yaml` say, and what nobody read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from executor.licence_spec import Finding, LicenceSpec, Severity
from executor.model_cache import prepared_folder
from executor.spec import ModelSpec
from knowledge.load import licences, models
from knowledge.rows import LicenceRow
from tools.base import Args

FIRST = 65_536
"""characters of a card that are read"""
NAME = re.compile(r"[\w.+ /:-]{1,60}")
LLAMA = re.compile(r"llama-?(3(?:\.\d)?|4)\b", re.IGNORECASE)
TEXTS = (
    (re.compile(r"\bLLAMA (3(?:\.\d)?) COMMUNITY LICENSE", re.IGNORECASE), r"llama\1"),
    (re.compile(r"\bApache License\s+Version 2\.0", re.IGNORECASE), "apache-2.0"),
    (re.compile(r"\bGemma Terms of Use", re.IGNORECASE), "gemma"),
    (re.compile(r"\AMIT License|Permission is hereby granted, free of charge", re.IGNORECASE), "mit"),
)
"""the beginnings of licence texts, and the licence's name"""
FREE = ("apache-2.0", "mit", "cc0-1.0")
"""licences that allow another one for what is made of the work"""
HUB_IDS = re.compile(
    r"llama[234](\.\d)?|apache-2\.0|mit|gemma|cc0-1\.0|cc-by[a-z-]*-[234]\.\d|odc-by|[a-z]*openrail[a-z+-]*"
)
"""names that the hub's cards know as they are"""


class LicenceArgs(Args):
    """What a user says of where rows and answers come from."""

    data_licence: str | None = None
    """the licence of the data, such as cc-by-4.0 (an identifier of the hub)"""
    teacher: str | None = None
    """the model that wrote the answers, where one did, such as gpt-4o; people if people did"""


@dataclass(frozen=True)
class Rights:
    """The same, of a wish."""

    data: str | None = None
    teacher: str | None = None

    @classmethod
    def of(cls, args: LicenceArgs) -> Rights:
        return cls(args.data_licence, args.teacher)


STATED_NOTHING = Rights()


def licensed(model: ModelSpec, data: Path | None, said: Rights) -> LicenceSpec:
    """The chain of a run: what was said, else what the model's and the data's own cards say."""
    base, base_from = base_licence(model)
    rows, rows_from = (said.data, "you said so") if said.data else card_beside(data)
    found = chain(base, rows, said.teacher, model.name)
    return found.model_copy(update={"base_from": base_from, "data_from": rows_from})


def chain(base: str | None, data: str | None, teacher: str | None, model: str = "") -> LicenceSpec:
    """What follows from the licences of base model and data, and from the terms of the model that wrote the answers.

    `model` is the base model's name: it tells which of the Llama licences is meant.
    """
    rows = {"base": row_of(base, "licence"), "data": row_of(data, "licence"), "teacher": row_of(teacher, "teacher")}
    findings = [*finding_of("base", base, rows["base"]), *finding_of("data", data, rows["data"])]
    findings += finding_of("teacher", teacher, rows["teacher"])
    findings += together(rows["base"], rows["data"])
    known = [row for row in rows.values() if row is not None]
    spellings = (spelled(base, rows["base"], model), spelled(data, rows["data"]))
    result, name = result_of(spellings[0], rows["base"], spellings[1], rows["data"])
    if any(finding.severity == "blocked" for finding in findings):
        result, name = "unknown", None
    return LicenceSpec(
        base=base, data=data, teacher=teacher, findings=tuple(findings), result=result, result_name=name,
        begins=tuple(dict.fromkeys(row.begins for row in known if row.begins)),
        shown=tuple(dict.fromkeys(row.shown for row in known if row.shown)),
        credit=any(row.credit for row in known),
        read_on=min((row.read_on.isoformat() for row in known), default=None),
    )  # fmt: skip


def row_of(name: str | None, kind: str) -> LicenceRow | None:
    """The row that a name means; None where none is known."""
    said = (name or "").strip()
    found = (row for row in licences() if row.kind == kind and any(re.fullmatch(p, said, re.I) for p in row.names))
    return next(found, None) if said else None


WHAT = {"base": "the base model's licence", "data": "the data's licence", "teacher": "the teacher"}
SEVERITIES: dict[str, Severity] = {"yes": "ok", "ask": "warning", "no": "blocked", "unknown": "unknown"}


def finding_of(about: Any, name: str | None, row: LicenceRow | None) -> list[Finding]:
    """What one link of the chain says; of a teacher only where one was named."""
    if row is not None:
        text = f"{WHAT[about].capitalize()} ({name}): {row.quoted()}"
        return [Finding(severity=SEVERITIES[row.ship], about=about, text=text, source=row.source)]
    if name:
        text = f"{WHAT[about].capitalize()} is “{name}”, whose terms nobody read: read them before you pass it on."
        return [Finding(severity="unknown", about=about, text=text)]
    if about == "teacher":
        return []
    return [Finding(severity="unknown", about=about, text=f"{WHAT[about].capitalize()} is not known.")]


def together(base: LicenceRow | None, data: LicenceRow | None) -> list[Finding]:
    """What two licences that are each in order cannot both be given."""
    if base is None or data is None or base.id == data.id or "no" in (base.ship, data.ship):
        return []
    for one, other in ((base, data), (data, base)):
        if one.share_alike and other.id not in FREE and (other.share_alike or other.ship == "ask"):
            text = (
                f"{one.id} asks that what is made of it carries {one.id}, which the terms of {other.id} do not allow: "
                "as read, no licence for the tuned model meets both."
            )
            return [Finding(severity="blocked", about="together", text=text, source=(*one.source, *other.source))]
    return []


def spelled(name: str | None, row: LicenceRow | None, model: str = "") -> str | None:
    """A licence as the hub spells it."""
    said = (name or "").strip().lower()
    if row is not None and row.id == "llama-community":
        version = LLAMA.search(said) or LLAMA.search(model)
        return f"llama{version[1]}" if version else row.hub
    return said if HUB_IDS.fullmatch(said) else row.hub if row else None


def result_of(
    base: str | None, base_row: LicenceRow | None, data: str | None, data_row: LicenceRow | None
) -> tuple[str, str | None]:
    """(the licence that the tuned model can carry, its name where the hub has no word for it)."""
    if base_row is None or base is None or base_row.ship in ("no", "unknown"):
        return "unknown", None
    asks = data_row is not None and data is not None and (data_row.share_alike or data_row.commercial is False)
    if asks and base_row.id in FREE:
        return str(data), None
    if asks and data != base:
        return "other", f"{base_row.id} and {data_row.id}" if data_row else None
    return (base, base_row.id) if base == "other" else (base, None)


def base_licence(model: ModelSpec) -> tuple[str | None, str | None]:
    """(licence, where it was found): the catalogue, or the card or licence text in the model's folder."""
    if model.licence:
        known = any(row.name == model.name for row in models())
        return model.licence, "the catalogue" if known else "the model's card on the hub"
    folder = prepared_folder(model)
    if said := said_in(folder / "README.md"):
        return said, "README.md of the model"
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        text = beginning(folder / name)
        for pattern, licence in TEXTS:
            if match := pattern.search(text):
                return match.expand(licence).lower(), f"{name} of the model"
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
    """The `license` of a card's front matter: data, a short name or nothing."""
    front = front_matter(card)
    said = front.get("license_name") if front.get("license") == "other" else front.get("license")
    return said if isinstance(said, str) and NAME.fullmatch(said) and said != "unknown" else None


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


def licence_text(found: LicenceSpec) -> str:
    """One line for a plan: the chain, and below it what is not plainly in order."""
    names = [f"base {found.base or 'not known'}", f"data {found.data or 'not stated (`--data-licence`)'}"]
    names.append(f"answers by {found.teacher}" if found.teacher else "no teacher named (`--teacher`)")
    words = {"unknown": "what it may carry is not known", "other": f"it stays under {found.result_name}"}
    conditions = any(each.severity == "warning" for each in found.findings)
    carried = words.get(found.result, f"it can carry {found.result}{', under conditions' if conditions else ''}")
    read = f", as read on {found.read_on}" if found.read_on else ""
    said = "may not be passed on" if found.blocked else carried
    lines = [f"Licences: {', '.join(names)}; {said}{read} (not legal advice)."]
    told = [each for each in found.open if each.severity != "unknown" or each.source]
    lines += [f"- {'**Blocked.** ' if each.severity == 'blocked' else ''}{each.text}" for each in told]
    lines += [f"- Its name must begin with “{begin}” where it is passed on." for begin in found.begins]
    return "\n".join(lines)
