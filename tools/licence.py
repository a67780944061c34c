"""The chain of licences: what base model, data and teacher allow to be done with the tuned model, as read on a day.

Never legal advice: it says what the dated rows of `knowledge/facts/licences.yaml` say, and what nobody read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.licence_spec import Finding, LicenceSpec, Severity
from executor.spec import ModelSpec
from knowledge.rows import LicenceRow
from tools.base import Args
from tools.licence_found import base_licence, card_beside
from tools.licence_names import canonical, of_version, row_of, spelled

FREE = ("apache-2.0", "mit", "cc0-1.0")
"""licences that allow another one for what is made of the work"""


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
    meant = of_version(base, model)
    rows = {"base": row_of(meant, "licence"), "data": row_of(data, "licence"), "teacher": row_of(teacher, "teacher")}
    findings = [*finding_of("base", base, rows["base"]), *finding_of("data", data, rows["data"])]
    findings += finding_of("teacher", teacher, rows["teacher"])
    findings += together(rows["base"], rows["data"])
    known = [row for row in rows.values() if row is not None]
    result, name = result_of((meant, rows["base"]), (data, rows["data"]))
    if any(finding.severity in ("blocked", "unknown") for finding in findings):
        result, name = "unknown", None
    return LicenceSpec(
        base=base, data=data, teacher=teacher, findings=tuple(findings), result=result, result_name=name,
        begins=tuple(dict.fromkeys(row.begins for row in known if row.begins)),
        shown=tuple(dict.fromkeys(row.shown for row in known if row.shown)),
        credit=any(row.credit for row in known),
        read_on=min((row.read_on.isoformat() for row in known), default=None),
    )  # fmt: skip


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


Link = tuple[str | None, LicenceRow | None]
"""a licence as it was said, and its row"""


def result_of(base: Link, data: Link) -> tuple[str, str | None]:
    """(the licence that the tuned model can carry, its name where the hub has no word for it), of links with rows."""
    one, other = base[1], data[1]
    if one is None or other is None or not (carried := spelled(base[0], one)):
        return "unknown", None
    asks, asked = spelled(data[0], other), other.share_alike or other.commercial is False
    if asked and one.id in FREE and asks:
        return asks, canonical(data[0]) if asks == "other" else None
    if asked and canonical(data[0]) != canonical(base[0]):
        return "other", f"{canonical(base[0])} and {canonical(data[0])}"
    return carried, canonical(base[0]) if carried == "other" else None


def licence_text(found: LicenceSpec) -> str:
    """One line for a plan: the chain, and below it what is not plainly in order."""
    names = [f"base {found.base or 'not known'}", f"data {found.data or 'not stated (`--data-licence`)'}"]
    names.append(answered(found.teacher))
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


def answered(teacher: str | None) -> str:
    """Who wrote the answers, in words."""
    row = row_of(teacher, "teacher")
    if row is not None and row.id == "no-model":
        return "no model wrote them, as you said"
    return f"answers by {teacher}" if teacher else "no teacher named (`--teacher`)"
