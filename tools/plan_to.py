"""A plan handed to another trainer: which base that one loads, and the files it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executor.model_cache import prepared_folder
from executor.spec import ModelSpec
from executor.trainers import Plan, TrainerName, hand_over
from knowledge.load import models
from tools.planning import Planned


def write_for(planned: Planned, trainer: TrainerName, out: str, overwrite: bool) -> dict[str, Any]:
    """The files of `trainer` in the folder `out`; what `hand_over` tells of them.

    Raises UserError where something is in the way.
    """
    spec, rows = planned.spec, planned.prepared
    plan = Plan(spec, base_of(spec.model), rows.train, rows.validation, rows.test)
    return hand_over(plan, trainer, Path(out).expanduser().absolute(), overwrite)


def base_of(model: ModelSpec) -> str:
    """What another trainer loads: the hub's name of the model; a folder where the model is one, or has no such name."""
    if model.source == "hub" and model.hub_id:
        return model.hub_id
    if model.source == "wheel" and not (prepared_folder(model) / "config.json").exists():
        known = next((row.hub_id for row in models() if row.name == model.name), None)
        if known:
            return known
    return str(prepared_folder(model).absolute())


def written_text(written: dict[str, Any]) -> str:
    """Where it lies, how it is run, and what of the plan it cannot hold."""
    lines = [f"Written to {written['folder']}: {', '.join(written['files'])}."]
    lines += [f"Run there: `{written['command']}`"]
    if "measure" in written:
        lines.append(f"Measure the result on the rows held out of it: `{written['measure']}`. {written['beware']}")
    if written["missing"]:
        lines.append("Other than in the plan, or without an equivalent there:")
    return "\n\n".join(lines) + "".join(f"\n- {each}" for each in written["missing"])
