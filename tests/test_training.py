"""Training: it learns, it stops and goes on bit for bit, it fails without leaving anything half-made."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Answer, chat_rows, command, write_examples
from safetensors import SafetensorError
from safetensors.torch import save_file

from executor.__main__ import main
from executor.errors import Interrupted, UserError
from executor.files import read_jsonl, write_jsonl
from executor.run_folder import RunFolder
from executor.template import ChatTemplate
from executor.train.checkpoint import checkpoints
from executor.train.loop import DivergedError, learning_rate, train
from executor.train.model import add_lora, load_base, save_adapter
from executor.train.step import Step

NewRun = Callable[..., RunFolder]
METRICS = {
    "train_loss", "eval_loss", "steps", "tokens", "tokens_per_second", "peak_memory_bytes", "seconds",
    "trainable_parameters",
}  # fmt: skip


def digest(adapter: Path) -> str:
    return hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


def train_here(run: RunFolder, tiny_model: Path, stop_after: int | None = None) -> dict[str, Any] | None:
    """Train in this process, a fresh model each time; None where it was stopped. The adapter is saved in the run."""
    spec, seen = run.spec(), [0]

    def report(done: int, total: int, unit: str) -> None:
        seen[0] = done

    def stop() -> bool:
        return stop_after is not None and seen[0] >= stop_after

    model = add_lora(load_base(tiny_model, spec.train.dtype), spec.lora, spec.train.seed)
    try:
        metrics = train(model, run, spec, ChatTemplate(tiny_model), report, stop)
    except Interrupted:
        return None
    save_adapter(model, tiny_model, run.adapter)
    return metrics


def step_numbers(run: RunFolder) -> list[int]:
    return [line["step"] for line in read_jsonl(run.metrics_file) if "loss" in line]


def test_the_loss_falls(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(rows=chat_rows(16), steps=40, learning_rate=2e-2, batch_size=16)
    metrics = train_here(run, tiny_model)
    assert metrics is not None
    assert metrics.keys() >= METRICS
    losses = [line["loss"] for line in read_jsonl(run.metrics_file) if "loss" in line]
    assert losses[-1] < losses[0] / 3
    assert metrics["train_loss"] == losses[-1]
    assert metrics["steps"] == 40
    real = sum(ChatTemplate(tiny_model).count(row["messages"]) for row in chat_rows(16))
    assert metrics["tokens"] == 40 * real


def test_the_validation_loss_is_measured_before_during_and_after(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(steps=7, evaluate_every=3)
    metrics = train_here(run, tiny_model)
    assert metrics is not None
    measured = {line["step"]: line["eval_loss"] for line in read_jsonl(run.metrics_file) if "eval_loss" in line}
    assert list(measured) == [0, 3, 6, 7]
    assert metrics["eval_loss"] == measured[7]


def test_the_learning_rate_rises_then_falls_to_nothing(new_run: NewRun) -> None:
    settings = new_run(steps=100, learning_rate=1e-3, warmup_share=0.1).spec().train
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == max(rates) == 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-6


@pytest.mark.parametrize("stops", [(1,), (2,), (5,), (3, 4, 7)])
def test_a_stopped_training_goes_on_bit_for_bit(stops: tuple[int, ...], new_run: NewRun, tiny_model: Path) -> None:
    """With dropout, so that the random state counts too, and with replayed rows."""
    settings: dict[str, Any] = {"steps": 8, "lora": {"dropout": 0.2}, "evaluate_every": 3, "checkpoint_every": 3}
    undisturbed, stopped = new_run(**settings), new_run(**settings)
    for run in (undisturbed, stopped):
        write_jsonl(run.data / "replay.jsonl", chat_rows(5))
    whole = train_here(undisturbed, tiny_model)
    for step in stops:
        assert train_here(stopped, tiny_model, stop_after=step) is None
        assert max(checkpoints(stopped.checkpoints))[0] == step
    end = train_here(stopped, tiny_model)
    assert whole is not None
    assert end is not None
    assert digest(stopped.adapter) == digest(undisturbed.adapter)
    for key in ("train_loss", "eval_loss", "steps", "tokens"):
        assert end[key] == whole[key]
    clocks = {"seconds": 0, "tokens_per_second": 0, "memory_bytes": 0, "remaining_seconds": 0}
    lines = [[{**line, **clocks} for line in read_jsonl(run.metrics_file)] for run in (stopped, undisturbed)]
    assert lines[0] == lines[1]


def test_what_a_killed_process_left_is_ignored(new_run: NewRun, tiny_model: Path) -> None:
    """A half-written checkpoint under its hidden name, steps logged after the last checkpoint, half a line."""
    undisturbed, killed = new_run(steps=6), new_run(steps=6)
    train_here(undisturbed, tiny_model)
    train_here(killed, tiny_model, stop_after=2)
    half = killed.checkpoints / ".step-4"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half of it")
    with open(killed.metrics_file, "a", encoding="utf-8") as out:
        out.write('{"step": 3, "loss": 1.0}\n{"step": 4, "loss": 1.0}\n{"step": 5, "lo')
    train_here(killed, tiny_model)
    assert step_numbers(killed) == [1, 2, 3, 4, 5, 6]
    assert digest(killed.adapter) == digest(undisturbed.adapter)
    assert not half.exists()


def test_a_run_killed_before_its_first_checkpoint_starts_anew(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(steps=2)
    run.metrics_file.write_text('{"step": 0, "eval_loss": 9}\n{"step": 1, "loss": 1.0}\n', encoding="utf-8")
    train_here(run, tiny_model)
    assert step_numbers(run) == [1, 2]


def test_a_checkpoint_of_another_version_is_refused(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(steps=4)
    train_here(run, tiny_model, stop_after=2)
    newest = max(checkpoints(run.checkpoints))[1] / "state.safetensors"
    save_file({"parameter/other": torch.zeros(1)}, newest)
    with pytest.raises(UserError, match="another version"):
        train_here(run, tiny_model)


def test_only_the_last_checkpoints_are_kept(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(steps=9, checkpoint_every=2, keep_checkpoints=2)
    train_here(run, tiny_model)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-8", "step-9"]
    assert all(
        {p.name for p in path.iterdir()} == {"state.safetensors", "progress.json"}
        for _, path in checkpoints(run.checkpoints)
    )


@pytest.mark.parametrize(("steps", "rate"), [(4, 1e35), (1, 1e39)])
def test_a_diverged_training_fails_and_saves_no_adapter(steps: int, rate: float, new_run: NewRun) -> None:
    """In the middle, where the next loss is not finite, and in the last step, where only the weights are not."""
    run = new_run(steps=steps, learning_rate=rate, warmup_share=0.0)
    assert main(str(run.path)) == DivergedError.exit_code
    status = run.status()
    assert status["state"] == "failed"
    assert "learning_rate" in status["error"]["fix"]
    assert not list(run.path.glob("*adapter*"))
    assert run.result() is None


def test_a_loss_that_is_no_number_ends_the_training(
    new_run: NewRun, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.train.loop.step_that_fits", lambda *_: Step(math.nan, 1.0, 8, {}))
    with pytest.raises(DivergedError, match="Step 1"):
        train_here(new_run(), tiny_model)


FULL = {
    "a checkpoint": ("executor.train.checkpoint.save_file", OSError(errno.ENOSPC, "No space left on device")),
    "safetensors": ("executor.train.checkpoint.save_file", SafetensorError("I/O error: no space left (os error 28)")),
    "a logged step": ("executor.train.log.append_jsonl", OSError(errno.ENOSPC, "No space left on device")),
    "the adapter": ("executor.stage_train.save_adapter", SafetensorError("I/O error: no space left (os error 28)")),
    "the report": ("executor.report.write_report", OSError(errno.ENOSPC, "No space left on device")),
}


@pytest.mark.parametrize("where", FULL)
def test_a_full_disk_pauses_the_run_and_leaves_nothing_half_written(
    where: str, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, error = FULL[where]

    def full(*_: object, **__: object) -> None:
        raise error

    run = new_run(steps=3)
    with monkeypatch.context() as patched:
        patched.setattr(name, full)
        assert main(str(run.path)) == 3
    status = run.status()
    assert status["state"] == "paused"
    assert "disk is full" in status["reason"]
    assert "--resume" in status["error"]["fix"]
    assert not [path for path in run.path.rglob(".*") if path.name != ".adapter"]
    assert run.result() is None
    assert (run.adapter / "adapter_model.safetensors").exists() is run.adapter.exists()
    assert main(str(run.path)) == 0
    assert run.status()["state"] == "done"
    assert step_numbers(run) == [1, 2, 3]
    assert not list(run.path.rglob(".*"))


def test_a_bug_is_told_in_one_line_and_traced_in_the_log(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("what")

    monkeypatch.setattr("executor.stage_train.train", broken)
    run = new_run()
    assert main(str(run.path)) == 70
    assert "internal error: KeyError" in run.status()["reason"]
    assert "Traceback" in capsys.readouterr().err


def test_rows_that_are_too_long_are_refused_before_the_first_step(new_run: NewRun) -> None:
    run = new_run(max_length=16)
    assert main(str(run.path)) == 3
    assert "longer than max_length" in run.status()["error"]["what"]
    assert not run.metrics_file.exists()


# A real run process: stopped by Ctrl-C, killed, resumed.


@pytest.fixture(scope="module")
def spec_file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for 150 steps with a checkpoint every 5, in a folder with its data."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "home").mkdir()
    data = write_examples(folder / "things.csv")
    path = folder / "spec.yaml"
    planned = command(
        "plan", data, "--base-model", tiny_model, "--out", path, "--no-measure", "--json", home=folder / "home"
    )
    assert planned.code == 0, planned.err
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["train"] |= {"steps": 150, "checkpoint_every": 5, "evaluate_every": 50, "learning_rate": 1e-3}
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def until(ready: Callable[[], Any], seconds: float = 90) -> Any:
    """Look until `ready` gives something, but not for ever."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def newest_step(run: RunFolder) -> int:
    return max((step for step, _ in checkpoints(run.checkpoints)), default=0)


@pytest.fixture(scope="module")
def undisturbed(spec_file: Path) -> tuple[Answer, RunFolder]:
    answer = command("train", spec_file, "--json", home=spec_file.parent / "home")
    return answer, RunFolder(Path(answer.json["run"]))


@pytest.fixture(scope="module")
def interrupted(spec_file: Path) -> tuple[Answer, RunFolder]:
    """Ctrl-C in `finetune train` after the first checkpoint."""
    home = spec_file.parent / "interrupted"
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "train", str(spec_file), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "FINETUNE_HOME": str(home)},
    )  # fmt: skip
    with process:
        run = RunFolder(until(lambda: next(iter(home.glob("runs/2*")), None)))
        until(lambda: newest_step(run))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    return Answer(process.returncode, out, err), run


def test_train_ends_with_an_adapter(undisturbed: tuple[Answer, RunFolder]) -> None:
    answer, run = undisturbed
    assert answer.code == 0
    assert {"run", "status", "metrics"} <= answer.json.keys()
    assert answer.json["status"] == run.status()["state"] == "done"
    assert answer.json["metrics"].keys() >= METRICS
    assert run.result() == answer.json
    assert step_numbers(run) == list(range(1, 151))
    assert (run.adapter / "adapter_config.json").exists()


def test_ctrl_c_saves_and_ends_with_130(interrupted: tuple[Answer, RunFolder]) -> None:
    answer, run = interrupted
    assert answer.code == 130
    assert answer.json["error"].keys() == {"what", "where", "fix"}
    assert run.name in answer.json["error"]["fix"]
    assert "Traceback" not in answer.err
    assert run.status()["state"] == "stopped"
    assert newest_step(run) == step_numbers(run)[-1] < 150, "the very step it was stopped at is saved"
    assert not run.adapter.exists()


def test_killed_and_resumed_it_gives_the_same_bytes(
    interrupted: tuple[Answer, RunFolder], undisturbed: tuple[Answer, RunFolder], spec_file: Path
) -> None:
    """Stopped by Ctrl-C, resumed, killed with -9, resumed: as if nothing had been."""
    _, run = interrupted
    home = spec_file.parent / "interrupted"
    before = newest_step(run)
    resumed = command("train", "--resume", run.name[:8], "--detach", "--json", home=home)
    assert resumed.code == 0
    assert resumed.json == {"run": str(run.path), "status": "running", "metrics": None}
    again = command("train", "--resume", run.path, "--json", home=home)
    assert (again.code, "already running" in again.json["error"]["what"]) == (3, True)
    until(lambda: newest_step(run) > before)
    status = run.status()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(status["pid"], signal.SIGKILL)
    dead = until(lambda: (s := run.status())["state"] != "running" and s)
    assert (dead["state"], json.loads((run.path / "status.json").read_text())["state"]) == ("failed", "running")
    finished = command("train", "--resume", run.path, "--json", home=home)
    assert finished.code == 0, finished.err
    assert finished.json["metrics"]["steps"] == 150
    assert step_numbers(run) == list(range(1, 151))
    assert digest(run.adapter) == digest(undisturbed[1].adapter)
    assert finished.json["metrics"]["tokens"] == undisturbed[0].json["metrics"]["tokens"]
    done = command("train", "--resume", run.path, "--json", home=home)
    assert done.code == 0
    assert done.json["metrics"] == finished.json["metrics"]
