"""More processes for a training on this host: the run process is the first, the others live as long as it trains.

What torchrun sets in the environment is set here, so a worker does not care who started it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from executor.errors import FinetuneError, Interrupted, UserError
from executor.files import read_json, write_json
from executor.place import launched, load_place
from executor.run_folder import RunFolder
from executor.spec import RunSpec
from executor.template import ChatTemplate
from executor.train.loop import DivergedError, train
from executor.train.model import to_train
from executor.train.world import ALONE, World, join, leave

PATIENCE = 60.0
"""seconds for the workers to end once the training is over"""
GRACE = 3.0
"""seconds from the death of a worker until the run process ends where it still waits for it"""
POLL = 0.2
NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def workers(run: RunFolder, folder: Path, spec: RunSpec) -> Iterator[World]:
    """The world of a training of `spec` on the model in `folder`; started processes end with the block.

    Raises UserError where one of them ends before its time.
    """
    if launched() > 1:
        with launched_world(run, folder, spec) as world:
            yield world
        return
    count = load_place(run.path).processes
    if count == 1:
        yield ALONE
        return
    crew = Crew(run, folder, spec.train.learning_rate, count)
    try:
        os.environ.update(crew.environment | rank_of(0))
        torch.set_num_threads(max(1, spec.train.threads // count))
        yield join()
    except BaseException as error:
        lost = crew.lost(GRACE) if isinstance(error, RuntimeError) else None
        crew.end(0)
        if lost:
            raise lost from error
        raise
    else:
        crew.end(PATIENCE)
    finally:
        leave()
        for name in NAMES:
            os.environ.pop(name, None)
        torch.set_num_threads(spec.train.threads)


@contextmanager
def launched_world(run: RunFolder, folder: Path, spec: RunSpec) -> Iterator[World]:
    """The world of the processes that torchrun started; the others wait in `follow` to be told what to train."""
    world = join()
    try:
        world.from_first((run.path, folder, spec.train.learning_rate))
        torch.set_num_threads(max(1, spec.train.threads // int(os.environ.get("LOCAL_WORLD_SIZE", world.size))))
        yield world
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in ("gloo", "nccl", "connection", "peer")):
            raise
        raise UserError(
            "The processes lost each other; the work up to the last checkpoint is kept",
            run.name,
            f"Why is in the launcher's output. Start it again with `finetune train --resume {run.name}` behind it.",
        ) from error
    finally:
        leave()


def follow() -> None:
    """Train along with the first of the processes that torchrun started."""
    run, folder, learning_rate = join().from_first(None)
    work(RunFolder(run), folder, learning_rate)


class Crew:
    """The started processes, and a thread that looks whether they live: the first one may wait for a dead one."""

    def __init__(self, run: RunFolder, folder: Path, learning_rate: float, count: int) -> None:
        self.run = run
        self.environment = os.environ | {
            "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        }  # fmt: skip
        for file in run.path.glob(".worker-*"):
            file.unlink()
        arguments = [str(run.path), str(folder), str(learning_rate), str(os.getpid())]
        command = [sys.executable, "-P", "-m", "executor.worker", *arguments]
        self.started = [subprocess.Popen(command, env=self.environment | rank_of(place)) for place in range(1, count)]
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def lost(self, patience: float = 0.0) -> UserError | None:
        """What to tell of a worker that ended before its time, waiting `patience` seconds for one to end."""
        wait = threading.Event()
        for _ in range(int(patience / POLL) + 1):
            codes = [worker.poll() for worker in self.started]
            if any(codes):
                return self._told(codes)
            wait.wait(POLL if patience else 0)
        return None

    def _told(self, codes: list[int | None]) -> UserError:
        """The error that a worker left, or which one died; killed ones first, for others fail because of them."""
        for file in sorted(self.run.path.glob(".worker-*")):
            return UserError(**read_json(file)["error"])
        code, place = min((code, place) for place, code in enumerate(codes, start=2) if code)
        how = f"by signal {-code}" if code < 0 else f"with code {code}, see run.log"
        return UserError(
            f"Process {place} of {len(codes) + 1} ended {how}; the work up to the last checkpoint is kept",
            self.run.name, f"Resume with `finetune train --resume {self.run.name}`.",
        )  # fmt: skip

    def end(self, patience: float) -> None:
        """Wait for all processes at most `patience` seconds each, then kill what is left."""
        self.over.set()
        for worker in self.started:
            try:
                worker.wait(patience)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        for file in self.run.path.glob(".worker-*"):
            file.unlink()

    def _watch(self) -> None:
        """End this process where it does not notice by itself: nothing interrupts waiting for others in a sum."""
        while not self.over.wait(POLL):
            if self.lost() and not self.over.wait(GRACE) and (error := self.lost()):
                told = error.as_json() | {"exit_code": error.exit_code}
                self.run.set_status("failed", stage="train", pid=os.getpid(), reason=error.line(), **told)
                print(error.line(), flush=True)  # noqa: T201 (stdout is run.log)
                os._exit(error.exit_code)


def rank_of(place: int) -> dict[str, str]:
    return {"RANK": str(place), "LOCAL_RANK": str(place)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(run: RunFolder, folder: Path, learning_rate: float) -> None:
    """What every process but the first does: the same training on its share of each batch, without writing.

    A signal to stop stops all of them at the same step; the first one saves.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    spec = run.spec()
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"learning_rate": learning_rate})})
    world = join()
    torch.set_num_threads(max(1, spec.train.threads // int(os.environ.get("LOCAL_WORLD_SIZE", world.size))))
    model, template = to_train(folder, spec), ChatTemplate(folder)
    try:
        train(model, run, spec, template, lambda *_: None, stopping.is_set, world=world)
    except (Interrupted, DivergedError):
        return  # the first process ends in the same way, and tells
    except FinetuneError as error:
        write_json(run.path / f".worker-{world.rank}", error.as_json())
        raise
    finally:
        leave()
