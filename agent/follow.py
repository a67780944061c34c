"""Wait for a run and show how far it is; Ctrl-C asks it to save and stop."""

from __future__ import annotations

import signal
import sys
from typing import Any

from agent.output import note
from tools.base import Interrupted
from tools.runs import ask_to_stop, beside_others, mask_shown, outcome, wait

STAGES = {
    "start": "Starting",
    "prepare_model": "Base model",
    "probe": "Measuring steps",
    "baselines": "Measuring baselines",
    "decide": "Deciding",
    "train": "Training",
    "evaluate": "Evaluating base and tuned",
    "drift": "Comparing with earlier answers",
    "export": "Exporting and proving",
    "report": "Writing the report",
}


def follow(run: str, name: str) -> dict[str, Any]:
    """The result of `run` once it is over. Raises the error it ended with, or Interrupted after Ctrl-C."""
    if beside_others():  # a launcher ends its processes with SIGTERM: that is to stop the run, too
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        show_bars(run) if sys.stderr.isatty() else show_lines(run)
    except KeyboardInterrupt:
        note("Saving and stopping; Ctrl-C again leaves it to stop by itself ...")
        try:
            status = ask_to_stop(run)
        except KeyboardInterrupt:
            status = {"state": "running"}
        if status["state"] == "running":
            what = "Interrupted; the run was asked to stop and is still saving"
            raise Interrupted(what, name, "See `finetune runs show`.") from None
        if status["state"] != "done":
            fix = f"Resume with `finetune train --resume {name}`."
            raise Interrupted("Interrupted; the work so far is kept", name, fix) from None
    return outcome(run)


def show_mask(run: str, status: dict[str, Any]) -> bool:
    """Before training begins: the trained tokens of the first example. Whether it was shown."""
    if status["stage"] != "train" or status["state"] != "running":
        return False
    if text := mask_shown(run):
        note(text)
    return True


def show_lines(run: str) -> None:
    """For a pipe or a log: a line for each stage and note."""
    seen: tuple[Any, Any] = (None, None)
    shown = False
    for status in wait(run):
        now = (status["stage"], status.get("note"))
        shown = shown or show_mask(run, status)
        if status["state"] == "running" and now != seen:
            note(f"{STAGES.get(str(now[0]), str(now[0]))}" + (f": {now[1]}" if now[1] else ""))
            seen = now


def show_bars(run: str) -> None:
    """For a terminal: a bar for each stage, with time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task, seen, shown = None, None, False
        for status in wait(run):
            shown = shown or show_mask(run, status)
            progress = status.get("progress") or {"done": 0, "total": None, "unit": ""}
            now = (status["stage"], progress["unit"])
            if now != seen and status["state"] == "running":
                if task is not None:
                    bars.update(task, total=1 if bars.tasks[task].total is None else bars.tasks[task].total)
                    bars.update(task, completed=bars.tasks[task].total)
                label = STAGES.get(str(status["stage"]), str(status["stage"]))
                task, seen = bars.add_task(label, total=None, unit=""), now
            if task is not None:
                unit = str(status.get("note") or progress["unit"])
                bars.update(task, completed=progress["done"], total=progress["total"], unit=unit)
