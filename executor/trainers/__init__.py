"""One plan, any trainer: the same training as the configuration of TRL, Axolotl, LLaMA-Factory or Unsloth.

Text alone: nothing of these trainers is imported. Each has a file beside this one, and a column in keys.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from executor.errors import UserError
from executor.files import cannot_write, replacing_all
from executor.spec import save_spec
from executor.trainers import for_axolotl, for_llamafactory, for_trl, for_unsloth
from executor.trainers.plan import HELD_OUT, VALIDATION, Plan, TrainerName, Written, keys
from executor.trainers.readme import measure_command, other_split, readme
from executor.trainers.text import as_jsonl, one_line

__all__ = ["TRAINERS", "Plan", "TrainerName", "hand_over", "keys"]

TRAINERS: dict[TrainerName, Callable[[Plan], Written]] = {
    "trl": for_trl.write,
    "axolotl": for_axolotl.write,
    "llamafactory": for_llamafactory.write,
    "unsloth": for_unsloth.write,
}
README, SPEC = "README.md", "spec.yaml"


def hand_over(plan: Plan, trainer: TrainerName, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Write the configuration, its rows, those held out of it and a README into `folder`, all of it or nothing.

    Returns `trainer, folder, config, files, command, missing`, and where there are rows held out `held_out` (their
    file), `measure` (the command that measures the result on them) and `beware`. Raises UserError where the folder
    holds something and `overwrite` does not allow to replace what is called the same, or where it cannot be written.
    """
    refuse_taken(folder, overwrite)
    written = TRAINERS[trainer](plan)
    held_out = {HELD_OUT: as_jsonl(plan.test)} if plan.test else {}
    texts = {**written.files, **held_out, README: readme(plan, trainer, written)}
    names = [*texts, SPEC]
    there = [path for path in (folder / "data", (folder / HELD_OUT).parent, folder) if not path.exists()]
    try:
        with replacing_all([folder / name for name in names]) as temporaries:
            for name, temporary in zip(names, temporaries, strict=True):
                if name == SPEC:
                    save_spec(plan.spec, temporary)
                else:
                    temporary.write_text(texts[name], encoding="utf-8", errors="backslashreplace", newline="\n")
        for name in {VALIDATION, HELD_OUT} - texts.keys():  # of a plan that was here before
            (folder / name).unlink(missing_ok=True)
    except UserError:
        for path in there:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
    except OSError as error:
        raise cannot_write(folder, error) from error
    return {
        "trainer": trainer, "folder": str(folder), "config": str(folder / written.config), "files": names,
        "command": written.command, "missing": written.missing, **measured_by(plan, folder),
    }  # fmt: skip


def measured_by(plan: Plan, folder: Path) -> dict[str, str]:
    if not plan.test:
        return {}
    file = str(folder / HELD_OUT)
    beware = other_split(one_line(Path(plan.spec.data.path).name))
    return {"held_out": file, "measure": measure_command(plan, file), "beware": beware}


def refuse_taken(folder: Path, overwrite: bool) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise cannot_write(folder, error) from error
    if taken and not folder.is_dir():
        raise UserError(f"{folder.name} is a file", str(folder), "Name a folder to write to.")
    if taken and not overwrite:
        raise UserError(f"{folder.name} exists", str(folder), "Choose another folder, or allow to replace it (--yes).")
