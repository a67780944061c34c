"""How it came about: data, settings and their reasons, the estimate against the measurement."""

from __future__ import annotations

from typing import Any

from executor.report import figures as say
from executor.report.document import Block, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, flat, mapping, mappings, number

NOT_SETTINGS = ("cited", "data", "estimate", "kind", "licences", "reasons", "stages")
LINEAGE = ("step", "rows_in", "rows_out")


def data(run: RunFiles) -> Section | None:
    if not run.data:
        return None
    origin = Origin("recorded", "data.json; hashes are SHA-256, the first 12 characters")
    blocks: list[Block] = [Paragraph(_source(run), origin)]
    splits = mapping(run.data.get("splits"))
    cells = [(split, mapping(cell)) for split, cell in splits.items()]
    rows = [(split, say.whole(cell.get("rows")), say.short(cell.get("sha256"))) for split, cell in cells]
    if rows:
        blocks.append(Table(("split", "rows", "hash"), tuple(rows), (1,), title="Splits"))
    steps = []
    for step in mappings(run.data.get("lineage")):
        rest = {key: value for key, value in step.items() if key not in LINEAGE and value not in (None, "", [], {})}
        steps.append((say.plain(step.get("step")), say.whole(step.get("rows_in")), say.whole(step.get("rows_out")),
                      say.plain(rest, 160)))  # fmt: skip
    if steps:
        head = ("step", "rows in", "rows out", "details")
        blocks.append(Table(head, tuple(steps), (1, 2), title="What was done to the data, in order"))
    return Section("What it was trained and tested on", tuple(blocks))


def _source(run: RunFiles) -> str:
    source, task = mapping(run.data.get("source")), mapping(run.data.get("task"))
    path = source.get("path") or mapping(run.spec.get("data")).get("path")
    form = ", ".join(str(source[key]) for key in ("format", "shape", "encoding") if source.get(key))
    said = [f"The rows come from {path}" + (f" ({form})." if form else ".")] if path else []
    if run.data.get("version"):
        said.append(f"Dataset version {say.short(run.data['version'])}.")
    labels = task.get("labels")
    count = f" with {len(labels)} labels" if isinstance(labels, list | dict) and labels else ""
    if task.get("kind"):
        said.append(f"Kind of task: {say.plain(task['kind'])}{count}.")
    return " ".join(said) or "No source was recorded."


def settings(run: RunFiles) -> Section | None:
    """Every setting of the spec; those with a reason or a source first. `evaluate.sources` names sources by rule."""
    reasons = {key: mapping(value) for key, value in mapping(run.spec.get("reasons")).items()}
    rules = mapping(mapping(run.spec.get("evaluate")).get("sources"))
    leaves = flat({key: value for key, value in run.spec.items() if key not in NOT_SETTINGS})
    explained, bare = [], []
    for key, value in leaves:
        if value is None or value in ([], {}, "") or key.startswith("evaluate.sources."):
            continue
        reason = reasons.get(key, {})
        source = reason.get("source") or rules.get(key.removeprefix("evaluate."))
        if reason or source:
            cited = f"cited: {source}" if source else "chosen by rule"
            explained.append((key, say.plain(value, 120), say.plain(reason.get("reason"), 400), cited))
        else:
            bare.append((key, say.plain(value, 120)))
    origin = Origin("recorded", "spec.yaml")
    blocks: list[Block] = []
    if explained:
        blocks.append(Table(("setting", "value", "reason", "source"), tuple(explained), origin=origin))
    if bare:
        title = "Set without a reason of their own"
        blocks.append(Table(("setting", "value"), tuple(bare), origin=origin, title=title))
    return Section("Settings, and why", tuple(blocks)) if blocks else None


def estimate(run: RunFiles) -> Section:
    predicted = mapping(run.summary.get("estimate")) or mapping(run.spec.get("estimate"))
    measured = mapping(run.summary.get("metrics"))
    kinds = (
        ("peak memory", "memory_bytes", say.size, measured.get("peak_memory_bytes")),
        ("training time", "seconds", say.duration, measured.get("seconds")),
        ("cost of training", "cost_usd", say.dollars, None),
        ("hosting a month", "hosting_usd_month", say.dollars, None),
    )
    rows = []
    for label, key, form, value in kinds:
        cell = mapping(predicted.get(key))
        known = number(value) is not None
        if cell or known:
            span = say.between(cell.get("low"), cell.get("high"), form) or say.NONE
            rows.append((label, form(cell.get("expected")), span, form(value) if known else say.NOT_MEASURED))
    blocks: list[Block] = []
    if rows:
        origin = Origin("estimated", f"before the run{_device(predicted)}; the last column is measured")
        head = ("what", "estimated", "estimated range", "measured")
        blocks.append(Table(head, tuple(rows), (1, 2, 3), origin, "Estimated before, measured after"))
    facts = tuple(row for row in _metrics(measured, run.summary.get("seconds")) if row[1] != say.NONE)
    if facts:
        origin = Origin("measured", "metrics.jsonl and the run process")
        blocks.append(Table(("training", "measured"), facts, (1,), origin, "Training in figures"))
    return Section("Estimate and measurement", tuple(blocks) or (Paragraph("Training: not measured."),))


def _device(predicted: dict[str, Any]) -> str:
    return f", for {say.plain(predicted['device'])}" if predicted.get("device") else ""


def _metrics(measured: dict[str, Any], seconds: Any) -> tuple[tuple[str, str], ...]:
    return (
        ("train loss at the end", say.decimal(measured.get("train_loss"))),
        ("evaluation loss at the end", say.decimal(measured.get("eval_loss"))),
        ("steps", say.whole(measured.get("steps"))),
        ("tokens, without padding", say.whole(measured.get("tokens"))),
        ("tokens a second", say.whole(measured.get("tokens_per_second"))),
        ("trainable parameters", say.whole(measured.get("trainable_parameters"))),
        ("the whole run", say.duration(seconds)),
    )


def environment(run: RunFiles) -> Section | None:
    rows = tuple((key, say.plain(value, 120)) for key, value in flat(run.env) if value is not None)
    table = Table(("what", "value"), rows, (), Origin("recorded", "env.json"))
    return Section("Environment", (table,)) if rows else None


def broken(run: RunFiles) -> Section | None:
    text = f"These files are there but cannot be read, and their content is missing above: {', '.join(run.broken)}."
    return Section("Files that cannot be read", (Paragraph(text),)) if run.broken else None
