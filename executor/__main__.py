"""The run process: `python -P -m executor RUN_FOLDER`. The only place where torch is imported."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor.errors import DiskFullError, FinetuneError, Interrupted, UserError, disk_is_full
from executor.files import read_json, write_json
from executor.run_folder import RunFolder, State

HEARTBEAT_SECONDS = 1.0


class Monitor:
    """Writes status.json: at every stage, and once a second with progress and heartbeat."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.begun = time.time()
        self.status: dict[str, Any] = {
            "stage": "start",
            "pid": os.getpid(),
            "started": read_json(run.path / "status.json").get("started"),
            "progress": None,
            "note": None,
        }
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True)

    def write(self, state: State = "running", **more: Any) -> None:
        with self.lock:
            self.status |= more
            self.run.set_status(state, **self.status)

    def beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            with suppress(FinetuneError):  # a disk that is full for a moment
                self.write()

    def stage(self, name: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {name}", flush=True)  # noqa: T201 (stdout is run.log)
        self.write(stage=name, progress=None, note=None)

    def progress(self, done: int, total: int, unit: str) -> None:
        with self.lock:
            self.status |= {"progress": {"done": done, "total": total, "unit": unit}, "note": None}

    def say(self, note: str) -> None:
        print(note, flush=True)  # noqa: T201 (stdout is run.log)
        self.write(note=note.splitlines()[0])

    def finish(self, state: State, reason: str | None, error: dict[str, Any] | None = None) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        self.write(state, reason=reason, **(error or {}))


def main(folder: str) -> int:
    """Run every unfinished stage. The exit code is the error's own, or 0."""
    run = RunFolder(Path(folder))
    monitor = Monitor(run)
    signal.signal(signal.SIGTERM, lambda *_: monitor.stopping.set())
    signal.signal(signal.SIGINT, lambda *_: monitor.stopping.set())
    monitor.thread.start()
    try:
        execute(run, monitor)
    except Interrupted as error:
        return ended(monitor, "stopped", error)
    except DiskFullError as error:
        return ended(monitor, "paused", error)
    except Exception as error:
        if disk_is_full(error):
            fix = f"Free some space and resume with `finetune train --resume {run.name}`."
            return ended(monitor, "paused", UserError("The disk is full", str(run.path), fix))
        return ended(monitor, "failed", error) if isinstance(error, FinetuneError) else crashed(monitor)
    monitor.finish("done", None)
    return 0


def ended(monitor: Monitor, state: State, error: FinetuneError) -> int:
    monitor.finish(state, error.line(), error.as_json() | {"exit_code": error.exit_code})
    return error.exit_code


def crashed(monitor: Monitor) -> int:
    """A bug: the whole trace goes to run.log, one line to the status."""
    traceback.print_exc()
    last = traceback.format_exc().strip().splitlines()[-1]
    monitor.finish("failed", f"internal error: {last} (the trace is in run.log)")
    return 70


def execute(run: RunFolder, monitor: Monitor) -> None:
    """Stages, then result.json, whose presence means that the run is whole."""
    spec = run.spec()
    monitor.stage("start")
    from executor.job import Job
    from executor.stages import run_stages  # torch is imported here, after the status says so

    job = Job(run, spec, monitor.progress, monitor.say, monitor.stopping.is_set)
    result = run_stages(job, monitor.stage)
    result["seconds"] = time.time() - monitor.begun
    if spec.kind == "train":
        result = {"run": result["run"], "status": "done", "metrics": result["metrics"], "report": result["report"]}
    if spec.kind == "export":
        result = {"run": str(run.path), **(run.summary("export") or {}), "seconds": result["seconds"]}
    if spec.kind == "probe":
        result = {"run": str(run.path), "status": "done", **(run.summary("probe") or {})}
    write_json(run.path / "result.json", result)


if __name__ == "__main__":
    if not sys.stdin.isatty():
        sys.stdin.read()  # the launcher closes it once it has written its status
    sys.exit(main(sys.argv[1]))
