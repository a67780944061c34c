"""Metrics to a tracker: what it shows is what metrics.jsonl says, and it never costs a training."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Answer

from executor import extras, launch
from executor.__main__ import main
from executor.files import read_jsonl
from executor.run_folder import RunFolder
from executor.spec import save_spec
from executor.train.tracker import CALLBACKS

NewRun = Callable[..., RunFolder]
needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="TensorBoard is not installed: pip install '.[tensorboard]'"
)


def tracked(run: RunFolder, tracker: str) -> RunFolder:
    save_spec(run.spec().model_copy(update={"tracker": tracker}), run.path / "spec.yaml")
    return run


@needs_tensorboard
def test_tensorboard_shows_every_step_and_validation(new_run: NewRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tracked(new_run(steps=6, evaluate_every=3), "tensorboard")
    assert main(str(run.path)) == 0
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    for key, tag in (("loss", "train/loss"), ("learning_rate", "train/learning_rate"), ("eval_loss", "eval/loss")):
        shown = {event.step: event.value for event in events.Scalars(tag)}
        logged = {line["step"]: line[key] for line in read_jsonl(run.metrics_file) if key in line}
        assert shown == pytest.approx(logged, rel=1e-6)
        assert logged
    assert b'"learning_rate": 0.005' in events.Tensors("args/text_summary")[0].tensor_proto.string_val[0]


@needs_tensorboard
def test_a_tracker_that_fails_is_left_out(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(CALLBACKS["tensorboard"]):  # type: ignore[misc]
        def on_log(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("the server is gone")

    monkeypatch.setitem(CALLBACKS, "tensorboard", Broken)
    run = tracked(new_run(), "tensorboard")
    assert main(str(run.path)) == 0
    assert capsys.readouterr().out.count("is left out: ConnectionError: the server is gone") == 1


@needs_tensorboard
def test_a_plan_names_its_tracker(table: Path, tiny_model: Path, finetune: Callable[..., Answer]) -> None:
    spec = table.with_name("spec.yaml")
    words = ("plan", table, "--base-model", tiny_model, "--out", spec, "--no-measure", "--track", "tensorboard")
    assert finetune(*words).code == 0
    assert yaml.safe_load(spec.read_text(encoding="utf-8"))["tracker"] == "tensorboard"


def test_a_tracker_that_is_not_installed_is_told_before_anything_starts(
    table: Path, tiny_model: Path, finetune: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    told = finetune("train", table, "--base-model", tiny_model, "--track", "wandb", "--json")
    assert told.code == 3
    assert told.json["error"]["what"] == "The tracker wandb is not installed"
    assert "fine-tuning-assistant[wandb]" in told.json["error"]["fix"]
    assert finetune("plan", table, "--track", "excel", "--json").code == 2


def test_a_tracker_that_is_not_installed_where_the_run_is_fails_the_run(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    run = tracked(new_run(), "mlflow")
    assert main(str(run.path)) == 3
    assert "The tracker mlflow is not installed" in run.status()["reason"]


def test_only_the_secrets_of_the_named_tracker_reach_a_run(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "of-wandb")
    monkeypatch.setenv("OPENAI_API_KEY", "of-another")
    plain, run = new_run(), tracked(new_run(), "wandb")
    given = launch.child_environment(False, launch.asked_for(run))
    assert given["WANDB_API_KEY"] == "of-wandb"
    assert "OPENAI_API_KEY" not in given
    assert "WANDB_API_KEY" not in launch.child_environment(False, launch.asked_for(plain))
