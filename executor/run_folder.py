"""A run on disk: its files, its state, its progress. Written by the run process, read by everyone else."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from executor.errors import UserError, nearest
from executor.files import append_jsonl, read_json, read_jsonl, read_objects, sha256_rows, write_json
from executor.home import runs_folder
from executor.spec import RunSpec, load_spec, save_spec

State = Literal["planned", "running", "paused", "done", "failed", "stopped"]
NO_STATUS: dict[str, Any] = {"state": None, "reason": None, "stage": None, "pid": None, "heartbeat": None}
FINAL = ("done", "failed", "stopped", "paused")


@dataclass(frozen=True)
class RunFolder:
    """The run in `path` (absolute). Every file name of the contract has its one home here."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """What full training leaves in place of an adapter."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def reference(self) -> Path:
        """What the model at its start makes of preference rows: the same for every training of the run."""
        return self.path / "reference.safetensors"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        return self.path / "run.log"

    def spec(self) -> RunSpec:
        return load_spec(self.path / "spec.yaml")

    def outputs(self, system: str) -> Path:
        return self.path / "evaluation" / f"{system}.jsonl"

    def rows(self, split: str) -> list[Any]:
        """The `messages` rows of a split; an absent split has none."""
        file = self.data / f"{split}.jsonl"
        return read_jsonl(file) if file.exists() else []

    def check_seal(self) -> None:
        """Raises UserError where rows on disk are not those that were recorded when the run was made."""
        for split, sealed in read_json(self.path / "data.json")["splits"].items():
            if sha256_rows(self.rows(split)) != sealed["sha256"]:
                fix = "A score on changed rows means nothing: start a new run from the data file."
                raise UserError(f"The {split} rows changed since this run was made", str(self.data), fix)

    def choice(self, system: str) -> Path:
        """How a system was set up, as the validation rows chose."""
        return self.path / "choices" / f"{system}.json"

    def notes(self) -> list[dict[str, Any]]:
        """What people noted about the run: `at` (ISO 8601), `text`."""
        return [row for row in read_objects(self.path / "notes.jsonl") if {"at", "text"} <= row.keys()]

    def note(self, text: str) -> None:
        """Keep what somebody found out."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        append_jsonl(self.path / "notes.jsonl", {"at": now, "text": text})

    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps that can be read: a damaged line hides no run."""
        return [row for row in read_objects(self.metrics_file) if isinstance(row.get("step"), int)]

    def marker(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"

    def finish(self, stage: str, summary: Any) -> None:
        """Mark a stage as done; its summary is what later stages read."""
        write_json(self.marker(stage), summary)

    def summary(self, stage: str) -> Any | None:
        """What a finished stage left, or None while it is not finished."""
        marker = self.marker(stage)
        return read_json(marker) if marker.exists() else None

    def status(self) -> dict[str, Any]:
        """The contract's status, plus `progress` and `error`. A run whose process died is read as failed."""
        try:
            status = read_json(self.path / "status.json")
            if not isinstance(status, dict) or status.get("state") not in get_args(State):
                raise ValueError("it holds no state")
        except (OSError, ValueError) as error:
            problem = f"status.json cannot be read ({error}); resume with `finetune train --resume`"
            return NO_STATUS | {"state": "failed", "reason": problem}
        status = NO_STATUS | status
        if status["state"] == "running" and not alive(status["pid"], status.get("started")):
            status |= {"state": "failed", "reason": "the run process died; resume with `finetune train --resume`"}
        return status

    def set_status(self, state: State, **more: Any) -> dict[str, Any]:
        """Replace status.json; keys not given are empty."""
        status = NO_STATUS | {"state": state, "heartbeat": time.time()} | more
        write_json(self.path / "status.json", status)
        return status

    def result(self) -> dict[str, Any] | None:
        """The finished run's result; None while there is none, or where it cannot be read."""
        try:
            found = read_json(self.path / "result.json")
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def alive(pid: Any, started: Any) -> bool:
    """Whether `pid` is a living process, and the same one (pids are reused: creation times differ)."""
    if not isinstance(pid, int) or pid < 1:
        return False
    try:
        process = psutil.Process(pid)
        same = not isinstance(started, int | float) or abs(process.create_time() - started) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def create_run(spec: RunSpec, splits: dict[str, list[Any]], record: dict[str, Any]) -> RunFolder:
    """A new folder in the workspace with spec, data and the state `planned`.

    It is built under a hidden name and renamed, so a crash or a full disk leaves no half-made run.
    """
    from executor.files import cannot_write, write_jsonl

    slug = re.sub(r"[^a-z0-9]+", "-", Path(spec.data.path).stem.lower()).strip("-")[:40] or "data"
    runs = runs_folder()
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{spec.kind}-{slug}"
    hidden = RunFolder(runs / f".{name}.{os.getpid()}")
    try:
        save_spec(spec, hidden.path / "spec.yaml")
        write_json(hidden.path / "data.json", record)
        for split, rows in splits.items():
            write_jsonl(hidden.data / f"{split}.jsonl", rows)
        hidden.set_status("planned")
        return RunFolder(claim(hidden.path, runs, name))
    except OSError as error:
        raise cannot_write(runs / name, error) from error
    finally:
        remove_tree(hidden.path)


def claim(built: Path, runs: Path, name: str) -> Path:
    """Rename `built` to the first free name; rename onto a non-empty folder fails, so two starts never share one."""
    for attempt in range(100):
        target = runs / (name if attempt == 0 else f"{name}-{attempt + 1}")
        try:
            built.rename(target)
            return target
        except OSError:
            if not target.exists():
                raise
    raise UserError("Too many runs started in this second", str(runs), "Try again.")


def remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def all_runs() -> list[RunFolder]:
    """Every run of the workspace, newest first."""
    folder = runs_folder()
    if not folder.is_dir():
        return []
    found = sorted(folder.iterdir(), reverse=True)
    return [RunFolder(path) for path in found if (path / "status.json").exists() and not path.name.startswith(".")]


def find_run(name: str) -> RunFolder:
    """A run by path, name, or a unique beginning of its name. Raises UserError where there is none or several."""
    path = Path(name).expanduser()
    try:
        if (path / "status.json").exists():
            return RunFolder(path.resolve())
    except OSError:  # no file can have such a name, or it is out of reach: a run may
        pass
    runs = {run.name: run for run in all_runs()}
    matches = [run for key, run in runs.items() if key == name] or [r for k, r in runs.items() if k.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f'"{name}" fits {len(matches)} runs', str(runs_folder()), "Give more of the name.")
    raise UserError(f'No run "{name}"', str(runs_folder()), nearest(name, runs) or "`finetune runs` lists them.")
