"""Training in several processes: the result of one process, and nothing lost whichever of them dies."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import Answer, command, write_examples

from executor.__main__ import main
from executor.files import read_json, read_jsonl, write_json
from executor.place import Place, save_place
from executor.run_folder import RunFolder
from executor.train.checkpoint import checkpoints
from tools.jobs import from_spec

NewRun = Callable[..., RunFolder]
STEPS = 120


@pytest.fixture(scope="module")
def spec_file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for 120 steps on 48 rows with a checkpoint every 5, without dropout."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "home").mkdir()
    data, path = write_examples(folder / "things.csv"), folder / "spec.yaml"
    words = ("plan", data, "--base-model", tiny_model, "--out", path, "--no-measure", "--json")
    planned = command(*words, home=folder / "home")
    assert planned.code == 0, planned.err
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["train"] |= {
        "steps": STEPS, "checkpoint_every": 5, "evaluate_every": 40, "learning_rate": 1e-3, "dtype": "float32",
        "threads": 2, "watched_rows": 0,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dropping(spec_file: Path) -> Path:
    """The same with dropout, so that every process's random numbers count."""
    path = spec_file.with_name("dropping.yaml")
    spec = yaml.safe_load(spec_file.read_text(encoding="utf-8"))
    spec["lora"]["dropout"] = 0.2
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def create(spec_file: Path, processes: int = 1) -> RunFolder:
    run = from_spec(spec_file)
    save_place(Place(processes=processes), run.path)
    return run


def detached(spec: Path) -> RunFolder:
    """A run of two processes that the command line started and left; not a child of this process."""
    started = command("train", spec, "--processes", 2, "--detach", "--json", home=spec.parent / "home")
    assert started.code == 0, started.err
    return RunFolder(Path(started.json["run"]))


def lines(run: RunFolder, key: str) -> dict[int, float]:
    return {line["step"]: line[key] for line in read_jsonl(run.metrics_file) if key in line}


def digest(run: RunFolder) -> str:
    return hashlib.sha256((run.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


def until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    """Look until `ready` gives something, but not for ever."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def newest_step(run: RunFolder) -> int:
    return max((step for step, _ in checkpoints(run.checkpoints)), default=0)


def the_worker(pid: int) -> psutil.Process | None:
    children = psutil.Process(pid).children()
    return next((child for child in children if "executor.worker" in child.cmdline()), None)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def disturbed(run: RunFolder, number: int) -> int:
    """The exit code of the run process, here, whose worker gets a signal after the next checkpoint."""
    before = newest_step(run)

    def send() -> None:
        until(lambda: newest_step(run) > before)
        worker = the_worker(os.getpid())
        assert worker
        worker.send_signal(number)

    with ThreadPoolExecutor(1) as beside:
        sent = beside.submit(send)
        code = main(str(run.path))
        sent.result()
    assert before < newest_step(run) < STEPS
    return code


@pytest.fixture(scope="module")
def alone(spec_file: Path) -> Iterator[RunFolder]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FINETUNE_HOME", str(spec_file.parent / "home"))
        run = create(spec_file)
        assert main(str(run.path)) == 0
        yield run


def same_losses(found: RunFolder, expected: RunFolder) -> None:
    for key, count in (("loss", STEPS), ("eval_loss", 4)):
        assert len(lines(expected, key)) == count
        assert lines(found, key) == pytest.approx(lines(expected, key), rel=1e-5)


def test_two_processes_train_what_one_trains(spec_file: Path, alone: RunFolder) -> None:
    run = create(spec_file, processes=2)
    assert main(str(run.path)) == 0
    same_losses(run, alone)
    assert read_json(run.path / "result.json")["metrics"]["tokens"] == lines(alone, "tokens")[STEPS]
    assert (read_json(run.path / "launch.json"), run.spec()) == ({"processes": 2, "launcher": "local"}, alone.spec())
    assert not list(run.path.glob(".worker-*"))


def test_torchrun_trains_what_one_process_trains(spec_file: Path, alone: RunFolder) -> None:
    home = spec_file.parent / "torchrun"
    words = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "agent", "train", str(spec_file), "--json")
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120,
        env=os.environ | {"FINETUNE_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = home.glob("runs/2*")
    assert json.loads(done.stdout)["run"] == str(run), "one process speaks"
    same_losses(RunFolder(run), alone)


def test_whichever_process_is_stopped_or_dies_the_work_goes_on(dropping: Path) -> None:
    """A worker that is asked to stop, then one that is killed: as if nothing had been."""
    undisturbed, run = create(dropping, processes=2), create(dropping, processes=2)
    assert main(str(undisturbed.path)) == 0
    assert disturbed(run, signal.SIGTERM) == 130
    assert run.status()["state"] == "stopped"
    assert newest_step(run) == max(lines(run, "loss")), "the very step it was stopped at is saved"
    assert disturbed(run, signal.SIGKILL) == 3
    status = run.status()
    assert status["state"] == "failed"
    assert "Process 2 of 2 ended by signal 9" in status["reason"]
    assert f"--resume {run.name}" in status["error"]["fix"]
    assert main(str(run.path)) == 0
    assert lines(run, "loss") == lines(undisturbed, "loss")
    assert digest(run) == digest(undisturbed)


def test_a_worker_that_dies_while_it_starts_is_told(dropping: Path) -> None:
    """The run process then waits for it to join, where nothing interrupts it."""
    run = detached(dropping)
    worker = until(lambda: the_worker(run.status()["pid"]))
    worker.kill()
    status = until(lambda: (s := run.status())["state"] != "running" and s)
    assert "Process 2 of 2 ended by signal 9" in status["reason"]
    assert status["exit_code"] == 3


def test_workers_end_with_a_run_process_that_is_killed(dropping: Path) -> None:
    run = detached(dropping)
    pid = run.status()["pid"]
    worker = until(lambda: the_worker(pid))
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(worker))
    assert "the run process died" in run.status()["reason"]


def test_more_processes_than_rows_or_cores_are_refused(
    spec_file: Path, finetune: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = finetune("train", spec_file, "--processes", 9, "--json")
    assert many.code == 3
    assert "at most 8" in many.json["error"]["fix"]
    monkeypatch.setattr("executor.place.usable_cores", lambda: 2)
    three = finetune("train", spec_file, "--processes", 3, "--json")
    assert three.code == 3
    assert "3 processes, but 2 CPU cores" in three.json["error"]["what"]
    assert finetune("train", spec_file, "--processes", 0, "--json").code == 2
    assert finetune("train", spec_file, "--launcher", "slurm", "--json").code == 2


def test_an_unknown_key_of_the_launch_file_is_told(new_run: NewRun, finetune: Callable[..., Answer]) -> None:
    run = new_run()
    write_json(run.path / "launch.json", {"proceses": 2})
    told = finetune("train", "--resume", run.name, "--json")
    assert told.code == 3
    assert 'Did you mean "processes"' in told.json["error"]["what"]
    assert told.json["error"]["where"].endswith("launch.json")
