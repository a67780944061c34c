"""Validations choose what is kept and when to end; a sweep chooses the rate; all of it survives a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from executor.__main__ import main
from executor.errors import Interrupted
from executor.files import read_json, read_jsonl
from executor.run_folder import RunFolder
from executor.spec import SweepSpec, save_spec
from executor.template import ChatTemplate
from executor.train.checkpoint import checkpoints
from executor.train.loop import train
from executor.train.model import add_lora, load_base, trainable

NewRun = Callable[..., RunFolder]


def trained(run: RunFolder, tiny_model: Path, scores: list[float], stop_after: int | None = None) -> dict[str, Any]:
    """Train in this process; the task metric of each validation is the next of `scores`."""
    spec, seen, left = run.spec(), [0], iter(scores)
    model = add_lora(load_base(tiny_model, "float32"), spec.lora, 0)

    def report(done: int, total: int, unit: str) -> None:
        seen[0] = done

    metrics = train(
        model, run, spec, ChatTemplate(tiny_model), report,
        lambda: stop_after is not None and seen[0] >= stop_after, lambda _: next(left),
    )  # fmt: skip
    weights = torch.cat([parameter.detach().flatten() for parameter in trainable(model)])
    return metrics | {"weights": weights}


def watched(new_run: NewRun, **more: Any) -> RunFolder:
    return new_run(
        steps=8, batch_size=4, evaluate_every=2, select="task_metric",
        watched_rows=4, dtype="float32", learning_rate=1e-2, checkpoint_every=3, **more,
    )  # fmt: skip


def test_the_best_state_is_kept_not_the_last(new_run: NewRun, tiny_model: Path) -> None:
    run = watched(new_run)
    found = trained(run, tiny_model, [0.9, 0.2, 0.8, 0.5, 0.4])  # before step 1, then after 2, 4, 6, 8
    assert (found["best_step"], found["task_metric"], found["steps"]) == (4, 0.8, 8)
    kept = load_file(run.checkpoints / "best-4.safetensors")["trained"]
    assert sorted(kept.tolist()) == sorted(found["weights"].tolist())
    losses = {line["step"]: line["eval_loss"] for line in read_jsonl(run.metrics_file) if "eval_loss" in line}
    assert found["eval_loss"] == losses[4] != losses[8]
    assert [path.name for path in run.checkpoints.glob("best-*")] == ["best-4.safetensors"]


def test_of_equal_scores_the_lower_loss_is_kept(new_run: NewRun, tiny_model: Path) -> None:
    run = watched(new_run)
    found = trained(run, tiny_model, [0.0] + [0.5] * 4)
    losses = {line["step"]: line["eval_loss"] for line in read_jsonl(run.metrics_file) if "eval_loss" in line}
    assert found["best_step"] == min((2, 4, 6, 8), key=lambda step: losses[step])


def test_training_ends_after_so_many_validations_without_a_better_one(new_run: NewRun, tiny_model: Path) -> None:
    run = watched(new_run, patience=2)
    found = trained(run, tiny_model, [0.1, 0.8, 0.3, 0.3])
    assert (found["steps"], found["best_step"], found["ended_early"]) == (6, 2, True)
    assert trained(run, tiny_model, [])["weights"].equal(found["weights"]), "resumed, it trains no further"


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 7])
def test_a_stop_changes_nothing_in_what_is_kept(stop_after: int, new_run: NewRun, tiny_model: Path) -> None:
    scores = [0.1, 0.5, 0.9, 0.2, 0.6]
    undisturbed = trained(watched(new_run), tiny_model, scores)
    run = watched(new_run)
    with pytest.raises(Interrupted):
        trained(run, tiny_model, scores, stop_after)
    done = stop_after // 2 + 1  # validations so far, the one before the first step among them
    resumed = trained(run, tiny_model, scores[done:])
    assert resumed["weights"].equal(undisturbed["weights"])
    assert resumed["best_step"] == undisturbed["best_step"] == 4


def test_the_task_metric_is_measured_on_validation_rows_in_a_real_run(new_run: NewRun) -> None:
    run = new_run(steps=4, select="task_metric", watched_rows=4)
    assert main(str(run.path)) == 0
    scores = [line["task_metric"] for line in read_jsonl(run.metrics_file) if "eval_loss" in line]
    assert scores
    assert all(score in (0.0, 0.25, 0.5, 0.75, 1.0) for score in scores)
    assert (run.summary("train") or {})["metrics"]["task_metric"] in scores


@pytest.fixture
def swept(new_run: NewRun) -> RunFolder:
    run = new_run(steps=6, dtype="float32")
    spec = run.spec().model_copy(update={"sweep": SweepSpec(learning_rates=(1e-6, 2e-2, 1e30), steps=6)})
    save_spec(spec, run.path / "spec.yaml")
    return run


def test_a_sweep_trains_at_the_rate_that_was_best_and_outlives_one_that_diverges(swept: RunFolder) -> None:
    assert main(str(swept.path)) == 0
    found = (swept.summary("train") or {})["sweep"]
    assert found["chosen"] == 2e-2
    assert [trial["learning_rate"] for trial in found["trials"]] == [1e-6, 2e-2, 1e30]
    assert found["trials"][2]["eval_loss"] is None
    assert found["trials"][1]["eval_loss"] < found["trials"][0]["eval_loss"]
    assert max(line["learning_rate"] for line in read_jsonl(swept.metrics_file) if "learning_rate" in line) == 2e-2
    assert not list(swept.path.glob("sweep/*/checkpoints"))


def test_a_finished_trial_is_not_done_again(swept: RunFolder) -> None:
    assert main(str(swept.path)) == 0
    first = read_json(swept.path / "sweep" / "lr-0.02" / "trial.json")
    for name in ("result.json", "stages/train.json"):
        (swept.path / name).unlink()
    assert main(str(swept.path)) == 0
    assert read_json(swept.path / "sweep" / "lr-0.02" / "trial.json") == first
    assert checkpoints(swept.checkpoints)
