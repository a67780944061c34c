"""The stage that holds today's answers against those that an earlier run kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executor.data.planted import shared_lines
from executor.data.rows import sources_of
from executor.errors import UserError
from executor.evaluate.drift import SHOWN, drift_of
from executor.files import read_jsonl, write_jsonl
from executor.job import Job
from executor.run_folder import RunFolder


def drift(job: Job) -> dict[str, Any]:
    """`drift`, None where there is nothing earlier; every changed row goes to drift.jsonl."""
    settings = job.spec.evaluate
    system = settings.endpoints[0].name if settings.endpoints else "fine_tuned"
    if settings.since is None:
        return {"drift": None, "watched": system}
    earlier = RunFolder(Path(settings.since))
    file = earlier.outputs(settings.since_system or system)
    before = read_jsonl(file) if file.exists() else []
    rows = job.run.rows("test")
    now, sources = read_jsonl(job.run.outputs(system)), sources_of(rows, job.spec.data.cluster)
    found = drift_of(before, now, job.scorer, job.scorer.binary, sources)
    if found is None:
        fix = "Give the rows that it was measured with, or another --since."
        raise UserError(f"{earlier.name} holds none of these rows", str(file), fix)
    write_jsonl(job.run.path / "drift.jsonl", found["changed"])
    named: dict[str, Any] = {
        "since": str(earlier.path), "since_system": settings.since_system or system, "system": system,
        "rows_trained_on": len(shared_lines(rows, range(len(rows)), job.run.rows("train"))),
    }  # fmt: skip
    return {"drift": {**named, **found, "changed": found["changed"][:SHOWN]}, "watched": system}
