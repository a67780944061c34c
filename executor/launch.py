"""Start a run process, follow it by reading its folder, stop it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import psutil

from executor.errors import UserError
from executor.files import cannot_write
from executor.place import load_place
from executor.run_folder import FINAL, RunFolder, alive
from executor.servers import refuse_in_clear
from executor.spec import EndpointSpec

POLL_SECONDS = 0.2
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|DATABASE_URL|DSN$", re.I)
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

MALLOC = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "mmap_threshold": 4 << 30,
        "trim_threshold": 16 << 30,
        "top_pad": 256 << 20,
    }.items()
)
"""how glibc gets memory from the system; other C libraries do not read it"""


def launch(run: RunFolder) -> int:
    """Start the run process in a session of its own and return its pid.

    `-P` keeps the current folder off the import path, so a user's own `executor/` is never run.
    Raises UserError if this run is already running.
    """
    try:
        with open(run.path / "spec.yaml", "rb") as held, open(run.log_file, "ab") as log:
            fcntl.flock(held, fcntl.LOCK_EX)  # of two starts at once, the second sees the status of the first
            refuse_running(run)
            return started(run, log)
    except OSError as error:
        raise cannot_write(run.log_file, error) from error


def refuse_running(run: RunFolder) -> None:
    status = run.status()
    if status["state"] == "running":
        raise UserError(f"{run.name} is already running", f"pid {status['pid']}", "Stop it first, or wait.")


def started(run: RunFolder, log: IO[bytes]) -> int:
    """The pid of a new run process. It waits until its stdin is closed, so its first status never precedes ours."""
    command = [sys.executable, "-P", "-m", "executor", str(run.path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=environment_of(run),
    )
    try:
        run.set_status("running", stage="start", pid=process.pid, started=psutil.Process(process.pid).create_time())
    finally:
        if process.stdin:
            process.stdin.close()
    return process.pid


def train_along() -> NoReturn:
    """Become the worker that a launcher wants this process to be, from the first process's run."""
    os.execve(sys.executable, [sys.executable, "-P", "-m", "executor.worker"], child_environment(hub=False))  # noqa: S606


def environment_of(run: RunFolder) -> dict[str, str]:
    """What the run's process may know; a spec that is not valid is its own to report."""
    try:
        spec = run.spec()
    except UserError:
        return child_environment(hub=False)
    named = spec.model.source == "hub" or (spec.export is not None and spec.export.hub is not None)
    return child_environment(named or bool(spec.evaluate.harness), asked_for(run), tokens=named)


@dataclass(frozen=True)
class Secrets:
    """Environment variables that a run was asked to use though they are named like secrets."""

    names: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.names or name.startswith(self.beginnings))


def asked_for(run: RunFolder) -> Secrets:
    """The secrets that this run needs: the keys of its endpoints and hub, what its tracker and its Ray cluster read."""
    try:
        spec = run.spec()
    except UserError:  # the run process's to report
        return Secrets()
    ray = load_place(run.path).launcher == "ray"
    servers: tuple[EndpointSpec, ...] = (
        *spec.evaluate.endpoints,
        *((spec.evaluate.judge,) if spec.evaluate.judge else ()),
    )
    for endpoint in servers:  # a run folder may come from somewhere
        refuse_in_clear(endpoint.url, endpoint.key)
    keys = tuple(endpoint.key for endpoint in servers if endpoint.key)
    if spec.export and spec.export.hub and spec.export.hub.token_env:
        keys = (*keys, spec.export.hub.token_env)
    return Secrets(keys, ((f"{spec.tracker.upper()}_",) if spec.tracker else ()) + (("RAY_AUTH_",) if ray else ()))


NONE = Secrets()


def child_environment(hub: bool, also: Secrets = NONE, tokens: bool = True) -> dict[str, str]:
    """The environment without what is named like a secret, offline, and with threads that do not spin for long.

    Only what the user named on the hub lets the process reach it (`hub`), a model or a push with its token (`tokens`).
    `also`: other secrets that it was asked to use.

    Waiting OpenMP threads that spin for as long as they do by default make a step some 25 times slower as soon as
    another busy program shares the cores; with a short spin an idle machine is just as fast. Memory in huge pages that
    is kept for the next step makes a training step on a CPU some 5 % faster.
    """
    named = HUB_TOKENS if hub and tokens else ()
    kept = {k: v for k, v in os.environ.items() if k.startswith(named) or k in also or not SECRET.search(k)}
    offline = {} if hub else {"HF_HUB_OFFLINE": "1"}
    return (
        {"GOMP_SPINCOUNT": "5000", "GLIBC_TUNABLES": MALLOC}
        | kept
        | {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
        | offline
    )


def follow(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the status whenever it changed, until the run is over."""
    last: dict[str, Any] = {}
    while True:
        status = run.status()
        if status != last:
            yield status
            last = status
        if status["state"] in FINAL:
            return
        time.sleep(POLL_SECONDS)


def stop(run: RunFolder, patience: float = 60.0) -> dict[str, Any]:
    """Ask the run to save and stop (SIGTERM), wait at most `patience` seconds, and return its status."""
    status = run.status()
    if status["state"] != "running":
        return status
    pid, started = status["pid"], status.get("started")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return run.status()
    end = time.monotonic() + patience
    while alive(pid, started) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return run.status()
