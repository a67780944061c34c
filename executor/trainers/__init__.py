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
from executor.trainers.plan import VALIDATION, Plan, TrainerName, Written, keys
from executor.trainers.readme import readme

__all__ = ["TRAINERS", "Plan", "TrainerName", "hand_over", "keys"]

TRAINERS: dict[TrainerName, Callable[[Plan], Written]] = {
    "trl": for_trl.write,
    "axolotl": for_axolotl.write,
    "llamafactory": for_llamafactory.write,
    "unsloth": for_unsloth.write,
}
README, SPEC = "README.md", "spec.yaml"


def hand_over(plan: Plan, trainer: TrainerName, folder: Path, overwrite: bool = False) -> dict[str, Any]:
    """Write the configuration, the rows it trains and a README into `folder`, all of it or nothing.

    Returns `trainer, folder, config, files, command, missing`. Raises UserError where the folder holds something and
    `overwrite` does not allow to replace what is called the same, or where it cannot be written.
    """
    refuse_taken(folder, overwrite)
    written = TRAINERS[trainer](plan)
    texts = {**written.files, README: readme(plan, trainer, written)}
    names = [*texts, SPEC]
    there = [path for path in (folder / "data", folder) if not path.exists()]
    try:
        with replacing_all([folder / name for name in names]) as temporaries:
            for name, temporary in zip(names, temporaries, strict=True):
                if name == SPEC:
                    save_spec(plan.spec, temporary)
                else:
                    temporary.write_text(texts[name], encoding="utf-8", errors="backslashreplace", newline="\n")
        if VALIDATION not in texts:  # of a plan that was here before
            (folder / VALIDATION).unlink(missing_ok=True)
    except UserError:
        for path in there:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
    except OSError as error:
        raise cannot_write(folder, error) from error
    return {
        "trainer": trainer, "folder": str(folder), "config": str(folder / written.config), "files": names,
        "command": written.command, "missing": written.missing,
    }  # fmt: skip


def refuse_taken(folder: Path, overwrite: bool) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise cannot_write(folder, error) from error
    if taken and not folder.is_dir():
        raise UserError(f"{folder.name} is a file", str(folder), "Name a folder to write to.")
    if taken and not overwrite:
        raise UserError(f"{folder.name} exists", str(folder), "Choose another folder, or allow to replace it (--yes).")
