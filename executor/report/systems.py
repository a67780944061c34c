"""The systems that were measured: what was asked, how each was set up, what it costs, where it is weak."""

from __future__ import annotations

from pathlib import Path

from executor.report import draw
from executor.report import figures as say
from executor.report.document import Block, Bullets, Figure, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, in_order, mapping, mappings, number

MOST_PARTS = 12
FILES = {"the data": "path", "test rows from": "test", "documents": "documents"}


def asked(run: RunFiles) -> Section | None:
    """The question, as the user put it: task, data, base model, target, and what counts as right."""
    data, evaluate, model = (mapping(run.spec.get(key)) for key in ("data", "evaluate", "model"))
    why = mapping(mapping(run.spec.get("reasons")).get("evaluate.metric")).get("reason")
    target = number(evaluate.get("target"))
    rows = (
        ("the task", data.get("task")),
        *((name, Path(str(data[key])).name) for name, key in FILES.items() if data.get(key)),
        ("base model", model.get("name")),
        ("wanted", None if target is None else f"{say.share(target)} task accuracy"),
        ("what is right", say.plain(run.summary.get("metric")) + (f" ({why})" if why else "")),
        ("the form of an answer", run.summary.get("form")),
    )
    told = tuple((name, say.plain(value, 300)) for name, value in rows if value not in (None, "", say.NONE))
    if not told or not run.summary:
        return None
    return Section("What was asked", (Table(("", "as given or as found in the data"), told),))


def set_up(run: RunFiles) -> Section | None:
    """What validation rows chose: each way that was tried, with its score there."""
    blocks: list[Block] = []
    for system, found in mapping(run.summary.get("choices")).items():
        choice = mapping(found)
        chosen = mapping(choice.get("settings"))
        tried = mappings(choice.get("tried"))
        if not tried:
            text = f"{say.title(system)}: {say.plain(chosen.get('way'))} (too few validation rows to choose)."
            blocks.append(Paragraph(text))
            continue
        rows = tuple(
            (
                say.plain(each.get("way")) + (" ← taken" if each.get("way") == chosen.get("way") else ""),
                say.share(each.get("value")),
                say.between(each.get("low"), each.get("high")) or say.NONE,
            )
            for each in tried
        )
        origin = Origin(
            "measured", f"{say.whole(choice.get('rows'))} validation rows; the test rows were not looked at"
        )
        head = ("tried", "value", "95 % interval")
        blocks.append(Table(head, rows, (1, 2), origin, say.title(system)))
        if chosen.get("system"):
            blocks.append(Paragraph(f"The system message that was taken: “{say.cut(str(chosen['system']), 900)}”"))
    left = run.summary.get("left_out")
    if isinstance(left, list) and left:
        names = ", ".join(map(say.name, left))
        blocks.append(Paragraph(f"Not measured, since a cheaper system settled the question: {names}."))
    return Section("How each system was set up", tuple(blocks)) if blocks else None


def costs(run: RunFiles) -> Section | None:
    """Tokens and seconds of a thousand calls, and USD where a price is known."""
    known = {system: mapping(cells) for system, cells in mapping(run.summary.get("costs")).items()}
    rows = []
    for system in in_order(set(known)):
        cell = known[system]
        usd = number(cell.get("usd"))
        price = say.NONE if usd is None else f"{say.dollars(usd)} [{say.plain(cell.get('source'))}]"
        tokens = [say.whole(cell.get(key)) for key in ("prompt_tokens", "output_tokens")]
        rows.append((say.name(system), *tokens, say.duration(cell.get("seconds")), price))
    if not rows:
        return None
    head = ("system", "prompt tokens", "answer tokens", "time", "price")
    origin = Origin("measured", "evaluation/*.jsonl: means over the test rows, times 1,000; local systems in batches")
    table = Table(head, tuple(rows), (1, 2, 3, 4), origin, "A thousand calls")
    cut = [f"{say.whole(known[system]['cut'])} of {say.name(system)}" for system in known if known[system].get("cut")]
    short = f" The limit of tokens ended some answers: {', '.join(cut)}." if cut else ""
    note = Paragraph(
        "A system that runs here costs this machine's time; a dash means that no list price applies, or that a server "
        f"does not tell its tokens.{short}"
    )
    blocks: tuple[Block, ...] = (table, note)
    if told := mapping(run.spec.get("evaluate")).get("break_even"):
        blocks += (Paragraph(str(told), Origin("cited", "list prices as they were read; see Sources")),)
    return Section("What it costs to run", blocks)


def slices(run: RunFiles) -> Section | None:
    """Scores of parts of the test rows, the weakest first."""
    found = mapping(run.summary.get("slices"))
    each = [
        (by, part, mapping(cell))
        for by, parts in mapping(found.get("scores")).items()
        for part, cell in mapping(parts).items()
    ]
    each = [row for row in each if number(row[2].get("value")) is not None]
    if not each:
        return None
    each.sort(key=lambda row: (number(row[2].get("high")) or 0.0, number(row[2].get("value")) or 0.0))
    shown = tuple(
        (f"{by}: {say.cut(str(part), 60)}", say.share(cell.get("value")),
         say.between(cell.get("low"), cell.get("high")) or say.NONE, say.whole(cell.get("n")))
        for by, part, cell in each[:MOST_PARTS]
    )  # fmt: skip
    worst = mapping(found.get("worst"))
    name = say.name(found.get("system"))
    lead = f"The weakest part is {worst.get('by')} “{say.cut(str(worst.get('part')), 60)}”." if worst else ""
    title = f"{len(shown)} of {len(each)} parts, the weakest first" if len(shown) < len(each) else ""
    origin = Origin("measured", f"evaluation/{found.get('system')}.jsonl, parts with at least 5 rows")
    table = Table(("part", "value", "95 % interval", "test rows"), shown, (1, 2, 3), origin, title)
    return Section(f"Where the {name} system is weak", (Paragraph(lead), table) if lead else (table,))


def curve(run: RunFiles) -> Section | None:
    """The score at a quarter, half and all of the rows, and what twice as many would probably give."""
    found = mapping(run.summary.get("learning_curve"))
    points, ahead = mappings(found.get("points")), mapping(found.get("next"))
    if not points:
        return None
    bars, rows = [], []
    for each, kind in [*((point, "") for point in points), *([(ahead, ", estimated")] if ahead else [])]:
        value, low, high = (number(each.get(key)) for key in ("value", "low", "high"))
        if value is None:
            continue
        text, label = say.share(value), f"{say.whole(each.get('rows'))} rows{kind}"
        interval = say.between(low, high)
        bars.append(draw.Bar(label, value, low, high, f"{text}  ({interval})", accent=not kind))
        rows.append((label, text, interval or say.NONE))
    says = "; ".join(f"{bar.label} {bar.text}" for bar in bars)
    origin = Origin(
        "measured", "the same training on parts of the rows; the last bar is a power law through the others"
    )
    table = Table(("training rows", "task accuracy", "95 % interval"), tuple(rows), (1, 2), origin, "Learning curve")
    verdict = Paragraph(f"Twice the rows {ahead.get('says')}.") if ahead.get("says") else None
    figure = Figure(draw.bars(bars, says), table)
    return Section("Would more data help?", (verdict, figure) if verdict else (figure,))


def sources(run: RunFiles) -> Section | None:
    """Everything that is cited above, with its title and address."""
    cited = {key: mapping(value) for key, value in mapping(run.spec.get("cited")).items()}
    items = []
    for key, value in sorted(cited.items()):
        where = f" {value['url']}" if value.get("url") else ""
        read = f" (read on {value['read_on']})" if value.get("read_on") else ""
        items.append(f"[{key}] {say.plain(value.get('title'))}.{where}{read}")
    return Section("Sources", (Bullets(tuple(items)),)) if items else None
