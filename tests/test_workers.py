"""Training in several processes: the result of one process, and nothing lost whichever of them dies."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import Answer, command, write_examples

from executor.files import read_json, read_jsonl, write_json
from executor.run_folder import RunFolder
from executor.train.checkpoint import checkpoints

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


def trained(spec: Path, *words: object) -> tuple[Answer, RunFolder]:
    answer = command("train", spec, *words, "--json", home=spec.parent / "home")
    assert answer.code == 0, answer.err
    return answer, RunFolder(Path(answer.json["run"]))


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


def the_worker(run: RunFolder) -> psutil.Process:
    (worker,) = psutil.Process(run.status()["pid"]).children()
    return worker


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_two_processes_train_what_one_trains(spec_file: Path) -> None:
    (one, alone), (two, shared) = trained(spec_file), trained(spec_file, "--processes", 2)
    assert not (alone.path / "launch.json").exists()
    assert read_json(shared.path / "launch.json") == {"processes": 2, "launcher": "local"}
    for key, count in (("loss", STEPS), ("eval_loss", 4)):
        expected, found = lines(alone, key), lines(shared, key)
        assert len(expected) == len(found) == count
        assert found == pytest.approx(expected, rel=1e-5)
    assert two.json["metrics"]["tokens"] == one.json["metrics"]["tokens"]
    assert shared.spec() == alone.spec(), "where it is trained is no part of the spec"
    assert not list(shared.path.glob(".worker-*"))


def test_whichever_process_dies_the_work_goes_on(dropping: Path) -> None:
    """A killed worker, a killed run process, a worker that is asked to stop: as if nothing had been."""
    home = dropping.parent / "home"
    _, undisturbed = trained(dropping, "--processes", 2)
    started = command("train", dropping, "--processes", 2, "--detach", "--json", home=home)
    run = RunFolder(Path(started.json["run"]))

    until(lambda: newest_step(run))
    os.kill(the_worker(run).pid, signal.SIGKILL)
    status = until(lambda: (s := run.status())["state"] != "running" and s)
    assert (status["state"], status["exit_code"]) == ("failed", 3)
    assert "Process 2 of 2 ended by signal 9" in status["reason"]
    assert f"--resume {run.name}" in status["error"]["fix"]

    before = newest_step(run)
    assert 0 < before < STEPS
    assert command("train", "--resume", run.name, "--detach", "--json", home=home).code == 0
    until(lambda: newest_step(run) > before)
    worker = the_worker(run)
    os.kill(run.status()["pid"], signal.SIGKILL)
    until(lambda: gone(worker))

    before = newest_step(run)
    assert command("train", "--resume", run.name, "--detach", "--json", home=home).code == 0
    until(lambda: newest_step(run) > before)
    os.kill(the_worker(run).pid, signal.SIGTERM)
    status = until(lambda: (s := run.status())["state"] != "running" and s)
    assert status["state"] == "stopped", status
    assert newest_step(run) == max(lines(run, "loss")) < STEPS, "the very step it was stopped at is saved"

    resumed = command("train", "--resume", run.name, "--json", home=home)
    assert resumed.code == 0, resumed.err
    assert lines(run, "loss") == lines(undisturbed, "loss")
    assert digest(run) == digest(undisturbed)


def test_a_worker_that_fails_while_it_starts_is_told(dropping: Path, tiny_model: Path) -> None:
    """The run process then still waits for it to join."""
    home = dropping.parent / "home"
    started = command("train", dropping, "--processes", 2, "--detach", "--json", home=home)
    run = RunFolder(Path(started.json["run"]))
    until(lambda: run.status()["stage"] == "train" and psutil.Process(run.status()["pid"]).children())
    os.kill(the_worker(run).pid, signal.SIGKILL)
    status = until(lambda: (s := run.status())["state"] != "running" and s)
    assert "Process 2 of 2 ended by signal 9" in status["reason"]
    assert not list(run.path.glob(".worker-*"))


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
