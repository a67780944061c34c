"""The report of a run: report.md and report.html from the files of its folder, and from nothing else."""

from __future__ import annotations

from pathlib import Path

from executor.files import write_text
from executor.report import (
    again,
    delivered,
    examples,
    licences,
    markdown,
    page,
    record,
    results,
    systems,
    training,
    watched,
)
from executor.report.document import Report
from executor.report.folder import RunFiles, read_run

__all__ = ["build", "write_report"]


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write report.md and report.html into the run folder and return their paths.

    Every input file is optional: what is missing leaves its section out. Raises UserError where the folder cannot be
    written.
    """
    report = build(read_run(folder))
    text, web = folder / "report.md", folder / "report.html"
    write_text(text, markdown.render(report))
    write_text(web, page.render(report))
    return text, web


def build(run: RunFiles) -> Report:
    """The content of the report, before it has a form."""
    sections = (
        systems.asked(run),
        watched.drift(run),
        results.why(run),
        results.scores(run),
        results.comparison(run),
        examples.side_by_side(run),
        examples.confusion(run),
        results.errors(run),
        systems.slices(run),
        results.regressions(run),
        examples.forgotten(run),
        systems.costs(run),
        delivered.delivered(run),
        licences.licences(run),
        systems.curve(run),
        systems.set_up(run),
        record.data(run),
        training.loss(run),
        record.settings(run),
        record.estimate(run),
        systems.sources(run),
        again.again(run),
        record.environment(run),
        record.broken(run),
    )
    kept = tuple(section for section in sections if section is not None)
    return Report(run.path.absolute().name, watched.answer(run) or results.answer(run), kept)
