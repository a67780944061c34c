"""What a report says of a model in use that was asked the same rows again."""

from __future__ import annotations

from pathlib import Path

from executor.report import figures as say
from executor.report.document import Answer, Block, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, mapping, mappings, number

ORIGIN = Origin("measured", "evaluation/*.jsonl of both runs, scored alike; intervals computed at 95 %")


def answer(run: RunFiles) -> Answer | None:
    """Whether it dropped; None for a run that watches nothing."""
    if run.spec.get("kind") != "watch":
        return None
    found = mapping(run.summary.get("drift"))
    if not found:
        return Answer("The reference", "plain", "Nothing earlier was there to compare with.")
    word, tone = ("Dropped", "bad") if found.get("dropped") else ("No drop", "good")
    return Answer(word, "bad" if tone == "bad" else "good", _line(found), ORIGIN)


def drift(run: RunFiles) -> Section | None:
    found = mapping(run.summary.get("drift"))
    if number(found.get("difference")) is None:
        return None
    rows = tuple(
        (say.cut(str(row.get("expected"))), say.cut(str(row.get("before"))), say.cut(str(row.get("now"))))
        for row in mappings(found.get("changed"))
    )
    blocks: list[Block] = [Paragraph(_line(found), ORIGIN)]
    if rows:
        title = f"{len(rows)} of {say.whole(found.get('changed_answers'))} changed answers, losses first"
        blocks.append(Table(("expected", "before", "now"), rows, title=title))
    return Section(f"Since {Path(str(found.get('since'))).name}", tuple(blocks))


def _line(found: dict[str, object]) -> str:
    points = say.between(found.get("low"), found.get("high"), say.points)
    trained = number(found.get("rows_trained_on"))
    known = f" {say.whole(trained)} of the rows were trained on." if trained else ""
    before, now = (mapping(found.get(when)).get("value") for when in ("before", "now"))
    return (
        f"Task accuracy went from {say.share(before)} to {say.share(now)} on the same {say.whole(found.get('rows'))} "
        f"rows: {say.points(found.get('difference'))} points ({points}), {say.p_value(found.get('p_value'))}. "
        f"{say.whole(found.get('changed_answers'))} answers changed.{known}"
    )
