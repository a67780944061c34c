"""More processes for a training on this host: the run process is the first, the others live as long as it trains.

What torchrun sets in the environment is set here, so a worker does not care who started it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from executor.files import read_json
from executor.run_folder import RunFolder
from executor.spec import RunSpec
from executor.template import ChatTemplate
from executor.train.world import ALONE, World, join, leave

PATIENCE = 60.0
"""seconds for the workers to end once the training is over"""


@contextmanager
def workers(run: RunFolder, folder: Path, spec: RunSpec) -> Iterator[World]:
    """The world of a training of `spec` on the model in `folder`; started processes end with the block."""
    count = processes(run)
    if count == 1:
        yield ALONE
        return
    environment = os.environ | {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "executor.train.workers", str(run.path), str(folder)]
    started = [
        subprocess.Popen([*command, str(spec.train.learning_rate)], env=environment | rank_of(place))
        for place in range(1, count)
    ]
    try:
        os.environ.update(environment | rank_of(0))
        torch.set_num_threads(max(1, spec.train.threads // count))
        yield join()
    finally:
        leave()
        for worker in started:
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        torch.set_num_threads(spec.train.threads)


def rank_of(place: int) -> dict[str, str]:
    return {"RANK": str(place), "LOCAL_RANK": str(place)}


def processes(run: RunFolder) -> int:
    """How many processes train this run: `launch.json` says so, not the spec, for the result is the same."""
    file = run.path / "launch.json"
    return int(read_json(file)["processes"]) if file.exists() else 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(run: RunFolder, folder: Path, learning_rate: float) -> None:
    """What every process but the first does: the same training on its share of each batch, without writing."""
    from executor.errors import Interrupted
    from executor.train.loop import train
    from executor.train.model import to_train

    spec = run.spec()
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"learning_rate": learning_rate})})
    world = join()
    torch.set_num_threads(max(1, spec.train.threads // world.size))
    try:
        train(to_train(folder, spec), run, spec, ChatTemplate(folder), lambda *_: None, lambda: False, world=world)
    except Interrupted:
        return
    finally:
        leave()


if __name__ == "__main__":
    work(RunFolder(Path(sys.argv[1])), Path(sys.argv[2]), float(sys.argv[3]))
