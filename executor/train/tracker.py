"""Metrics to a tracker, through transformers' own integrations: trackio, MLflow, Weights & Biases, TensorBoard."""

from __future__ import annotations

import os
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from executor.errors import UserError
from executor.extras import need
from executor.run_folder import RunFolder
from executor.spec import RunSpec, TrainSpec

CALLBACKS: dict[str, Any] = {
    "trackio": TrackioCallback,
    "mlflow": MLflowCallback,
    "wandb": WandbCallback,
    "tensorboard": TensorBoardCallback,
}
PROJECT = "fine-tuning-assistant"
SILENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
"""what trackers would otherwise tell their makers about their use"""


class Tracker:
    """Sends each line of metrics on. Raises UserError where the tracker is not installed or does not start.

    Once started it never ends a training: a tracker that fails later is told in run.log and not asked again.
    """

    def __init__(self, spec: RunSpec, run: RunFolder) -> None:
        self.name = str(spec.tracker)
        need(self.name, f"The tracker {self.name}", "--track")
        for key, value in SILENT.items():
            os.environ.setdefault(key, value)
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run.path / "tensorboard"))
        os.environ.setdefault("WANDB_DIR", str(run.path))
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        self.arguments = arguments(spec.train, run)
        self.state = TrainerState(is_local_process_zero=True, is_world_process_zero=True, max_steps=spec.train.steps)
        self.control = TrainerControl()
        self.works = True
        try:
            self.callback = CALLBACKS[self.name]()
            self._tell("on_train_begin")
        except Exception as error:
            fix = "Set it up as its own manual says, or train without --track."
            raise UserError(f"The tracker {self.name} did not start: {brief(error)}", "--track", fix) from error

    def log(self, line: dict[str, Any]) -> None:
        self.state.global_step = line["step"]
        self._try("on_log", logs={key: value for key, value in line.items() if key != "step"})

    def close(self) -> None:
        self._try("on_train_end")

    def _try(self, what: str, **more: Any) -> None:
        if not self.works:
            return
        try:
            self._tell(what, **more)
        except Exception as error:
            self.works = False
            print(f"The tracker {self.name} failed and is left out: {brief(error)}", flush=True)  # noqa: T201 (run.log)

    def _tell(self, what: str, **more: Any) -> None:
        getattr(self.callback, what)(self.arguments, self.state, self.control, model=None, **more)


def arguments(settings: TrainSpec, run: RunFolder) -> TrainingArguments:
    """The settings under transformers' names, for trackers that show them."""
    return TrainingArguments(
        output_dir=str(run.path), run_name=run.name, report_to="none", project=PROJECT, use_cpu=True,
        learning_rate=settings.learning_rate, max_steps=settings.steps, num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size, weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm, lr_scheduler_type="cosine", seed=settings.seed,
    )  # fmt: skip


def brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
