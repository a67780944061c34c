"""The training stage on a Ray cluster, or on a local Ray where RAY_ADDRESS names none.

Ray Train starts the workers and their torch.distributed world; each runs the same `train`. The first worker writes what
the run process writes elsewhere, so all hosts need the run folder and the models under the same paths.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from executor.errors import FinetuneError, Interrupted, UserError
from executor.extras import need
from executor.files import read_json, write_json
from executor.hardware import gpus, usable_cores
from executor.job import Job
from executor.run_folder import RunFolder
from executor.spec import RunSpec
from executor.train.loop import DivergedError, train
from executor.train.model import to_train
from executor.train.world import PATIENCE, join

OUTCOME = ".ray.json"
"""what the first worker leaves: `metrics`, or `error` and `exit_code`"""
STOP = ".ray-stop"
"""its presence asks the workers to save and stop"""
LOST = ".worker-{rank}"
POLL = 0.5


def train_on_ray(job: Job, folder: Path, spec: RunSpec, processes: int) -> dict[str, Any]:
    """The metrics of a training by `processes` Ray workers, whose result the first of them has saved.

    Raises UserError where Ray is not installed, cannot be reached, or loses a worker; what `train` raises, too.
    """
    need("ray", "Ray", "--launcher ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import: nothing is sent anywhere
    forget(job.run)
    try:
        with cluster(processes), watched(job):
            trainer(job, folder, spec, processes).fit()
    except Exception as error:
        print(error, flush=True)  # noqa: T201 (stdout is run.log)
        reason = told(job.run, error)
        forget(job.run)
        raise reason from error
    outcome = read_json(job.run.path / OUTCOME)
    forget(job.run)
    if "metrics" in outcome:
        return dict(outcome["metrics"])
    kinds: dict[int, type[FinetuneError]] = {130: Interrupted, DivergedError.exit_code: DivergedError}
    raise kinds.get(outcome["exit_code"], UserError)(**outcome["error"])


@contextmanager
def cluster(processes: int) -> Iterator[None]:
    """A connection to the cluster that RAY_ADDRESS names, or a Ray of this process's own."""
    import ray

    own = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    address = os.environ.get("RAY_ADDRESS")
    more = {"address": address} if address else {"address": "local", "num_cpus": max(processes, usable_cores())}
    try:
        ray.init(include_dashboard=None if address else False, configure_logging=False, **more)
        for number, handler in own.items():
            signal.signal(number, handler)  # Ray's own would leave without saving
        yield
    finally:
        ray.shutdown()


def trainer(job: Job, folder: Path, spec: RunSpec, processes: int) -> Any:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = gpus() > 0
    told = {"run": str(job.run.path), "folder": str(folder), "base": str(job.base_folder)}
    return TorchTrainer(
        work,
        train_loop_config=told | {"spec": spec.model_dump(mode="json")},
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo", timeout_s=int(PATIENCE.total_seconds())
        ),
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=use_gpu),
        run_config=RunConfig(name=job.run.name, storage_path=str(job.run.path / ".ray")),
    )


@contextmanager
def watched(job: Job) -> Iterator[None]:
    """Hand on the workers' progress, and a wish to stop to them."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL):
            steps = [line["step"] for line in job.run.metrics() if "loss" in line]
            if steps:
                job.report(steps[-1], job.spec.train.steps, "steps")
            if job.stop():
                (job.run.path / STOP).touch()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def work(told: dict[str, Any]) -> None:
    """What each Ray worker does."""
    from executor.stage_train import save, task_metric

    run, folder, spec = RunFolder(Path(told["run"])), Path(told["folder"]), RunSpec.model_validate(told["spec"])
    stop = run.path / STOP
    job = Job(run, spec, lambda *_: None, lambda _: None, stop.exists, Path(told["base"]))
    world = join()
    torch.set_num_threads(max(1, spec.train.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    model = to_train(folder, spec)
    try:
        metrics = train(model, run, spec, job.template, job.report, job.stop, task_metric(job), world)
        if world.leads:
            save(job, model, folder)
            write_json(run.path / OUTCOME, {"metrics": metrics})
    except FinetuneError as error:
        if world.leads:
            write_json(run.path / OUTCOME, error.as_json() | {"exit_code": error.exit_code})
        elif not isinstance(error, Interrupted | DivergedError):  # those come to all
            write_json(run.path / LOST.format(rank=world.rank), error.as_json())
            raise


def told(run: RunFolder, error: Exception) -> FinetuneError:
    """What a worker left, or the last words of Ray."""
    for file in sorted(run.path.glob(LOST.format(rank="*"))):
        return UserError(**read_json(file)["error"])
    if isinstance(error, FinetuneError):
        return error
    if any(word in str(error).lower() for word in ("has died", "gloo", "nccl", "connection reset")):
        fix = f"Resume with `finetune train --resume {run.name}`; why is in run.log."
        return UserError("Ray lost a worker; the work up to the last checkpoint is kept", run.name, fix)
    words = (str(error).strip().splitlines() or [type(error).__name__])[-1].partition(". ")[0]
    fix = f"Resume with `finetune train --resume {run.name}`; the whole message is in run.log."
    return UserError(f"Ray ended the training: {words[:200]}", run.name, fix)


def forget(run: RunFolder) -> None:
    for name in (OUTCOME, STOP):
        (run.path / name).unlink(missing_ok=True)
    for file in run.path.glob(LOST.format(rank="*")):
        file.unlink()
    shutil.rmtree(run.path / ".ray", ignore_errors=True)
