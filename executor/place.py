"""Where a training is computed: `launch.json` in the run folder. The spec says what; it does not change with this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from executor.errors import UserError
from executor.files import read_json, write_json
from executor.hardware import gpus, usable_cores
from executor.spec import TrainSpec, parse
from executor.spec_part import Part

Launcher = Literal["local", "ray"]
FILE = "launch.json"


class Place(Part):
    processes: int = Field(default=1, ge=1)
    """processes that train together, a GPU each where there are any"""
    launcher: Launcher = "local"
    """who starts them: the run process on this host, or Ray on its cluster"""


def launched() -> int:
    """Processes that torchrun or accelerate launch started, this one among them; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def follows() -> bool:
    """Whether a launcher started this process to train along with the first one."""
    return launched() > 1 and os.environ["RANK"] != "0"


def load_place(run: Path) -> Place:
    """What the run folder says; one process here where it says nothing. Raises UserError naming file and key."""
    file = run / FILE
    if not file.exists():
        return Place()
    try:
        value = read_json(file)
    except (OSError, ValueError) as error:
        raise UserError("It cannot be read", str(file), "Give --processes anew, or remove the file.") from error
    return parse(Place, value, str(file))


def save_place(place: Place, run: Path) -> None:
    """Written where it says something; a run without the file has one process."""
    if place != Place() or (run / FILE).exists():
        write_json(run / FILE, place.model_dump())


def check_place(place: Place, train: TrainSpec) -> None:
    """Raises UserError where processes would be without a row, a GPU or a core of their own."""
    count = place.processes
    if count > train.batch_size:
        fix = f"Take at most {train.batch_size}, or a larger train.batch_size in the spec."
        raise UserError(f"{count} processes share {train.batch_size} rows a step", "--processes", fix)
    if place.launcher == "ray" or launched() > 1:  # their devices are elsewhere
        return
    devices = gpus()
    have, what = (devices, "GPUs") if devices else (usable_cores(), "CPU cores")
    if count > have:
        raise UserError(f"{count} processes, but {have} {what} here", "--processes", f"Take at most {have}.")
