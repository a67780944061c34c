"""Real rows: which labels are confused, what tuning won and what it lost, side by side."""

from __future__ import annotations

from collections import Counter
from typing import Any

from executor.files import read_jsonl
from executor.report import draw
from executor.report import figures as say
from executor.report.document import Block, Figure, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, best_system, mapping, mappings, number, subject
from executor.report.results import message

SHOWN = 5
"""rows of each kind"""
MOST_LABELS = 16
"""labels that a drawing can hold"""
OTHER = "something else"


def accuracy(line: dict[str, Any]) -> float | None:
    return number(mapping(line.get("scores")).get("task_accuracy"))


def side_by_side(run: RunFiles) -> Section | None:
    """Rows that the model in question won and lost against the best other system, with both answers."""
    measured, about = mapping(run.summary.get("scores")), subject(run)
    if not run.summary.get("verdict") and about != "fine_tuned":
        return None
    compared = mapping(run.summary.get("comparison"))
    other = str(compared.get("b") or "") if compared.get("a") == about else ""
    other = other or best_system({system: cells for system, cells in measured.items() if system != about})
    ours, theirs = run.outputs.get(about, []), run.outputs.get(other, [])
    if not ours or len(ours) != len(theirs):
        return None
    pairs = []
    for mine, old in zip(ours, theirs, strict=True):
        values = accuracy(mine), accuracy(old)
        if values[0] is not None and values[1] is not None:
            pairs.append((values[0] - values[1], mine, old))
    won = sorted((pair for pair in pairs if pair[0] > 0), key=lambda pair: -pair[0])
    lost = sorted((pair for pair in pairs if pair[0] < 0), key=lambda pair: pair[0])
    name, own = say.name(other), say.name(about)
    even = len(pairs) - len(won) - len(lost)
    lead = f"{say.title(about)} is better on {len(won):,} rows, {name} on {len(lost):,}, and {even:,}"
    origin = Origin("measured", f"evaluation/{about}.jsonl and evaluation/{other}.jsonl")
    blocks: list[Block] = [Paragraph(f"{lead} are even.", origin)]
    for title, found in (("Won", won), ("Lost", lost)):
        rows = tuple(
            (say.cut(message(mine), 160), say.cut(str(mine.get("expected") or ""), 120),
             say.cut(str(old.get("output") or "(empty)"), 120), say.cut(str(mine.get("output") or "(empty)"), 120))
            for _, mine, old in found[:SHOWN]
        )  # fmt: skip
        if rows:
            blocks.append(
                Table(("message", "expected", name, own), rows, title=f"{title}: {len(rows)} of {len(found)}")
            )
    opinion = mapping(run.summary.get("judged"))
    if opinion.get("failed"):
        blocks.append(Paragraph(f"The model {say.plain(opinion.get('judge'))} gave no opinion: {opinion['failed']}"))
    elif opinion:
        counts = [say.whole(opinion.get(key)) for key in ("won", "lost", "tied", "contradicted")]
        text = (
            f"The model {say.plain(opinion.get('judge'))} compared {say.whole(opinion.get('rows'))} pairs in both "
            f"orders: fine-tuned was better on {counts[0]}, {say.name(opinion.get('against'))} on {counts[1]}, "
            f"{counts[2]} were tied, and on {counts[3]} it contradicted itself. It is an opinion and enters no verdict."
        )
        blocks.append(Paragraph(text, Origin("measured", "opinions/judge.jsonl")))
    return Section("Side by side", tuple(blocks))


def confusion(run: RunFiles) -> Section | None:
    """Which label the model in question answers for which; only for few labels."""
    system = subject(run)
    labels = mapping(run.spec.get("data")).get("labels")
    lines = run.outputs.get(system, [])
    if mapping(run.spec.get("data")).get("kind") != "label" or not isinstance(labels, list) or not lines:
        return None
    names = [str(label) for label in labels]
    if not 2 <= len(names) <= MOST_LABELS:
        return None
    counts = Counter(
        (str(line.get("expected")), said if said in names else OTHER)
        for line in lines
        for said in [str(line.get("output"))]
    )
    columns = [*names, OTHER] if any(said == OTHER for _, said in counts) else names
    table = [[counts[wanted, said] for said in columns] for wanted in names]
    mixed = [(count, *pair) for pair, count in counts.most_common() if pair[0] != pair[1]][:10]
    rows = tuple((wanted, said, str(count)) for count, wanted, said in mixed) or (("none", "none", "0"),)
    origin = Origin("measured", f"evaluation/{system}.jsonl; a row for each expected label, a column for each answer")
    title = f"What the {say.name(system)} system answers for each label"
    words = Table(("expected", "answered", "times"), rows, (2,), origin, title)
    says = "; ".join(f"{wanted} answered as {said}: {count}" for count, wanted, said in mixed) or "no label is confused"
    return Section("Which labels are confused", (Figure(draw.matrix(names, columns, table, says), words),))


def forgotten(run: RunFiles) -> Section | None:
    """Questions of the regression suites that were right before the tuning and are wrong after it."""
    rows = []
    for file in sorted((run.path / "suites").glob("*.jsonl")):
        try:
            lines = mappings(read_jsonl(file))
        except (OSError, ValueError):
            continue
        lost = [line for line in lines if line.get("passed_before") and not line.get("passed")]
        rows += [
            (
                file.stem.replace("_", " "),
                *(say.cut(str(line.get(key) or "(empty)"), 120) for key in ("prompt", "before", "after")),
            )
            for line in lost[:2]
        ]
    loss = mapping(run.summary.get("neutral_loss"))
    blocks: list[Block] = []
    if number(loss.get("difference")) is not None:
        change = number(loss["difference"]) or 0.0
        text = (
            "On ordinary prose that has nothing to do with the task the loss went from "
            f"{say.decimal(loss.get('before'))} "
            f"to {say.decimal(loss.get('after'))} nats a token ({change:+.3f}, 95 % interval "
            f"{number(loss.get('low')) or 0.0:+.3f} to {number(loss.get('high')) or 0.0:+.3f}; above zero is worse)."
        )
        blocks.append(Paragraph(text, Origin("measured", f"{say.whole(loss.get('n'))} bundled paragraphs")))
    if rows:
        head = ("suite", "question", "before", "after")
        blocks.append(
            Table(head, tuple(rows), origin=Origin("measured", "suites/*.jsonl"), title="Right before, wrong after")
        )
    return Section("What it may have forgotten, in examples", tuple(blocks)) if blocks else None
