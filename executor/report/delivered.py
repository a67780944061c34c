"""The forms in which the tuned model was delivered, and whether each still answers the same."""

from __future__ import annotations

from typing import Any

from executor.files import read_jsonl
from executor.report import figures as say
from executor.report.document import Bullets, Origin, Section, Table
from executor.report.folder import RunFiles, mapping, mappings, number, texts

WORDS = {True: "equal", False: "not equal", None: "not tested here"}


def delivered(run: RunFiles) -> Section | None:
    """One line for each export of this run, the newest of each form."""
    try:
        lines = mappings(read_jsonl(run.path / "exports.jsonl"))
    except (OSError, ValueError):
        return None
    return section_of(lines)


def section_of(lines: list[dict[str, Any]]) -> Section | None:
    newest: dict[str, dict[str, Any]] = {form_of(line): line for line in lines}
    rows, reasons = [], []
    for form, line in newest.items():
        found = mapping(line.get("equivalence"))
        count = found.get("prompts")
        same = found.get("same_outputs")
        share = same / count if number(count) and number(same) and count else None
        equal = found.get("equal") if isinstance(found.get("equal"), bool) else None
        rows.append((
            form, WORDS[equal],
            f"{say.whole(found.get('same_prompt_tokens'))} of {say.whole(count)}" if number(count) else say.NONE,
            say.share(share), say.points(found.get("difference")),
            say.between(found.get("low"), found.get("high"), say.points) or say.NONE,
        ))  # fmt: skip
        reasons += [f"{form}: {text}" for text in texts(found.get("reasons"))]
    if not rows:
        return None
    head = (
        "form",
        "answers the same",
        "prompts with the same tokens",
        "identical answers",
        "score, points",
        "95 % interval",
    )
    origin = Origin("measured", "each form on the sealed test rows, against the adapter; exports.jsonl")
    table = Table(head, tuple(rows), (2, 3, 4, 5), origin)
    return Section("Delivered, and still the same?", (table, *((Bullets(tuple(reasons)),) if reasons else ())))


def form_of(line: dict[str, Any]) -> str:
    quant = f" {say.plain(line['quant'])}" if line.get("quant") else ""
    quant += f" {say.plain(line['url'])}" if line.get("url") else ""
    return say.plain(line.get("target")) + quant
