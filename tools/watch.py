"""A model in use, asked the rows that it was measured with again: has it drifted?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import answer, asking_key
from executor.errors import UserError
from executor.files import read_objects
from executor.run_folder import RunFolder, all_runs, find_run
from executor.spec import EndpointSpec, RunSpec

NEWEST, OLDEST = "last", "first"
"""words in place of a run's name: the newest or the oldest earlier evaluation of the same model on the same rows"""
TUNED = "fine_tuned"


def rows_asked(rows: Sequence[dict[str, Any]]) -> set[str]:
    return {asking_key(row["messages"][:-1], answer(row)) for row in rows}


def known_rows(run: RunFolder, system: str) -> set[str]:
    """The rows that a system of the run answered; those whose lines cannot be read are none."""
    return {asking_key(line.get("prompt"), line.get("expected")) for line in read_objects(run.outputs(system))}


def system_in(run: RunFolder, endpoint: EndpointSpec | None) -> str | None:
    """What the run's answers of this model are kept under; an endpoint may serve what the run has tuned."""
    names = [endpoint.name, TUNED] if endpoint else [TUNED]
    return next((name for name in names if run.outputs(name).exists()), None)


def earlier_run(since: str) -> RunFolder | None:
    """The named run; None where the newest or the oldest is to be found. Raises UserError where there is none."""
    return None if since in (NEWEST, OLDEST) else find_run(since)


def found_earlier(since: str, endpoint: EndpointSpec | None, tuned: Path | None, asked: set[str]) -> RunFolder | None:
    """The newest or oldest finished run that asked the same model all of these rows."""
    fit = (run for run in earlier(oldest=since == OLDEST) if measured_same(run, endpoint, tuned))
    return next((run for run in fit if asked <= known_rows(run, system_in(run, endpoint) or "")), None)


def earlier(oldest: bool) -> Iterator[RunFolder]:
    """The finished runs."""
    runs = all_runs()
    yield from (run for run in (reversed(runs) if oldest else runs) if run.status()["state"] == "done")


def measured_same(run: RunFolder, endpoint: EndpointSpec | None, tuned: Path | None) -> bool:
    """Whether the run measured the model of that server, or the adapter in the folder `tuned`."""
    try:
        spec = run.spec()
    except UserError:
        return False
    if endpoint:
        served = [(each.url.rstrip("/"), each.model) for each in spec.evaluate.endpoints]
        return (endpoint.url.rstrip("/"), endpoint.model) in served and run.outputs(endpoint.name).exists()
    own = run.model if spec.train.method == "full" else run.adapter
    return tuned is not None and Path(spec.evaluate.adapter or own) == tuned and run.outputs(TUNED).exists()


def since_spec(spec: RunSpec, earlier: RunFolder | None, endpoint: EndpointSpec | None, asked: set[str]) -> RunSpec:
    """The spec with what its answers are held against. Raises UserError where the earlier run cannot tell."""
    if earlier is None:
        return spec
    system = system_in(earlier, endpoint)
    if system is None:
        fix = "Name a run that evaluated this model, or --since last."
        raise UserError(f"{earlier.name} holds no answers of this model", str(earlier.path), fix)
    if not asked & known_rows(earlier, system):
        fix = f"Give the rows that it was measured with: {earlier.data / 'test.jsonl'}"
        raise UserError(f"{earlier.name} was asked none of these rows", "--data", fix)
    kept = {"since": str(earlier.path.absolute()), "since_system": system}
    return spec.model_copy(update={"evaluate": spec.evaluate.model_copy(update=kept)})


def watch_text(result: dict[str, Any]) -> str:
    """One line, for whoever reads the mail of a schedule."""
    found, name = result["drift"], result["watched"]
    if not found:
        cell = result["scores"][name]["task_accuracy"]
        score = f"{cell['value']:.1%} ({cell['low']:.1%} to {cell['high']:.1%})"
        return f"{name}: {score} on {cell['n']} rows; nothing earlier to compare with, so this is the reference."
    word = "dropped" if found["dropped"] else "no drop beyond chance" if found["changed_answers"] else "no drift"
    points = [f"{100 * found[part]:+.1f}" for part in ("difference", "low", "high")]
    missing = f"; {found['rows_not_there']} rows are new" if found["rows_not_there"] else ""
    missing += f"; {found['rows_trained_on']} of the rows were trained on" if found.get("rows_trained_on") else ""
    return (
        f"{name}: {word} since {Path(found['since']).name}: {found['before']['value']:.1%} to "
        f"{found['now']['value']:.1%} on {found['rows']} rows ({points[0]} points, {points[1]} to {points[2]}, "
        f"p = {found['p_value']:.2g}), {found['changed_answers']} answers changed{missing}. {result['report']}"
    )
