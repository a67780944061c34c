"""Whether the tuned model may be passed on, and under which name: the chain of licences as it was read."""

from __future__ import annotations

from executor.report import figures as say
from executor.report.document import Block, Bullets, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, mapping, mappings

LINKS = (("base", "base model"), ("data", "data"), ("teacher", "model that wrote the answers"))
UNKNOWN = {"base": "not known", "data": "not stated", "teacher": "none was named"}


def licences(run: RunFiles) -> Section | None:
    """None for a run that was made before licences were looked at."""
    found = mapping(run.spec.get("licences"))
    if not found:
        return None
    links = tuple(
        (label, say.plain(found.get(key) or UNKNOWN[key]), say.plain(found.get(f"{key}_from") or say.NONE))
        for key, label in LINKS
    )
    origin = Origin("recorded", f"spec.yaml; terms as read on {say.plain(found.get('read_on') or 'no day')}")
    blocks: list[Block] = [
        Paragraph(carried(found)),
        Table(("link", "licence or terms", "known from"), links, (), origin),
    ]
    told = [f"{say.plain(each.get('severity'))}: {say.plain(each.get('text'), 600)}{sources(each)}"
            for each in mappings(found.get("findings"))]  # fmt: skip
    if told:
        blocks.append(Bullets(tuple(told)))
    return Section("May it be passed on?", tuple(blocks))


def sources(finding: dict[str, object]) -> str:
    ids = finding.get("source")
    return f" [{', '.join(map(str, ids))}]" if isinstance(ids, list) and ids else ""


def carried(found: dict[str, object]) -> str:
    """The answer in one sentence. It is what was read, and no legal advice."""
    severities = {str(each.get("severity")) for each in mappings(found.get("findings"))}
    name = say.plain(found.get("result_name") or found.get("result"))
    if "blocked" in severities:
        text = "As its terms were read, it may not be passed on."
    elif name == "unknown":
        text = "What licence it can carry is not known, as one of the links below is not: read its terms first."
    elif "warning" in severities:
        text = f"Under conditions: it can carry {name}."
    else:
        text = f"As far as its terms are known, yes: it can carry {name}."
    begins = found.get("begins")
    rule = [f" Its name must begin with “{say.plain(each)}”." for each in begins] if isinstance(begins, list) else []
    return f"{text}{''.join(rule)} This is what was read, not legal advice."
