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
from executor.encode import encode_all
from executor.files import read_json, read_jsonl, write_json
from executor.place import Place, save_place
from executor.run_folder import RunFolder
from executor.template import ChatTemplate
from executor.train.checkpoint import checkpoints
from executor.train.model import to_train
from executor.train.objective import OBJECTIVES
from executor.train.step import make_optimizer, prepared, step_that_fits
from executor.train.workers import free_port
from tools.train import from_spec

NewRun = Callable[..., RunFolder]
STEPS = 80


@pytest.fixture(scope="module")
def spec_file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for 80 steps on 48 rows with a checkpoint every 5, without dropout."""
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
    for key, count in (("loss", STEPS), ("eval_loss", 3)):
        assert len(lines(expected, key)) == count
        assert lines(found, key) == pytest.approx(lines(expected, key), rel=1e-5)


def test_two_processes_train_what_one_trains(spec_file: Path, alone: RunFolder) -> None:
    run = create(spec_file, processes=2)
    assert main(str(run.path)) == 0
    same_losses(run, alone)
    assert read_json(run.path / "result.json")["metrics"]["tokens"] == lines(alone, "tokens")[STEPS]
    assert (read_json(run.path / "launch.json"), run.spec()) == ({"processes": 2, "launcher": "local"}, alone.spec())
    assert not list(run.path.glob(".worker-*"))


SHORT_OF_MEMORY = """
import sys
from pathlib import Path
from executor.encode import encode_all
from executor.run_folder import RunFolder
from executor.template import ChatTemplate
from executor.train import objective, step
from executor.train.model import to_train
from executor.train.world import join

run, folder = RunFolder(Path(sys.argv[1])), Path(sys.argv[2])
settings, world, plain = run.spec().train, join(), objective.batch_loss

calls = []

def short(model, batch, settings, scale):
    calls.append(batch.tokens)
    if world.rank == 1 and len(calls) == 2:
        raise MemoryError
    return plain(model, batch, settings, scale)

objective.batch_loss = short
model = to_train(folder, run.spec())
examples = encode_all(run.rows("train"), ChatTemplate(folder), settings.max_length, "train", ())[:8]
flat = step.prepared(model, settings)
optimizer = step.make_optimizer(flat, settings)
sft = objective.OBJECTIVES["sft"]
loss, norm, micro, _ = step.step_that_fits(model, examples, sft, settings, flat, optimizer, 2, world)
print(loss, norm, micro)
"""


def test_where_one_process_runs_out_of_memory_all_compute_fewer_rows(new_run: NewRun, tiny_model: Path) -> None:
    """Rank 1 alone fails, in its second part: both go on with what it can hold, and the step is the same."""
    run = new_run(dtype="float32")
    others = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(run.path), str(tiny_model)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | others | {"RANK": str(rank)})
        for rank in range(2)
    ]
    found = [process.communicate(timeout=60)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert found[0] == found[1]
    loss, norm, micro = map(float, found[0])
    assert micro == 1
    model = to_train(tiny_model, run.spec())
    settings = run.spec().train
    examples = encode_all(run.rows("train"), ChatTemplate(tiny_model), settings.max_length, "train", ())[:8]
    flat = prepared(model, settings)
    expected = step_that_fits(model, examples, OBJECTIVES["sft"], settings, flat, make_optimizer(flat, settings), 8)
    assert (loss, norm) == pytest.approx(expected[:2], rel=1e-5)


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


def test_a_death_while_the_workers_start_leaves_nobody_waiting(dropping: Path) -> None:
    """A worker's, while the run process waits for it to join, where nothing interrupts it; and a run process's."""
    without_worker, without_first = detached(dropping), detached(dropping)
    until(lambda: the_worker(without_worker.status()["pid"])).kill()
    first = without_first.status()["pid"]
    worker = until(lambda: the_worker(first))
    os.kill(first, signal.SIGKILL)
    until(lambda: gone(worker))
    assert "the run process died" in without_first.status()["reason"]
    status = until(lambda: (s := without_worker.status())["state"] != "running" and s)
    assert "Process 2 of 2 ended by signal 9" in status["reason"]
    assert status["exit_code"] == 3


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
