"""Metrics to a tracker, through transformers' own integrations: trackio, MLflow, Weights & Biases, TensorBoard."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from executor.errors import UserError
from executor.run_folder import RunFolder
from executor.spec import RunSpec

CALLBACKS: dict[str, Any] = {
    "trackio": TrackioCallback,
    "mlflow": MLflowCallback,
    "wandb": WandbCallback,
    "tensorboard": TensorBoardCallback,
}
PROJECT = "fine-tuning-assistant"


class Tracker:
    """Sends each line of metrics on. Raises UserError where the tracker's package is not installed."""

    def __init__(self, spec: RunSpec, run: RunFolder) -> None:
        name = str(spec.tracker)
        if find_spec(name) is None:
            fix = f"Install it with pip install 'fine-tuning-assistant[{name}]', or leave tracker out of the spec."
            raise UserError(f"The tracker {name} is not installed", "tracker", fix)
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run.path / "tensorboard"))
        os.environ.setdefault("WANDB_PROJECT", PROJECT)
        self.arguments = TrainingArguments(
            output_dir=str(run.path), run_name=run.name, report_to="none", project=PROJECT, use_cpu=True
        )
        self.state = TrainerState(is_local_process_zero=True, is_world_process_zero=True, max_steps=spec.train.steps)
        self.control = TrainerControl()
        self.callback = CALLBACKS[name]()
        self._tell("on_train_begin")

    def log(self, line: dict[str, Any]) -> None:
        self.state.global_step = line["step"]
        self._tell("on_log", logs={key: value for key, value in line.items() if key != "step"})

    def close(self) -> None:
        self._tell("on_train_end")

    def _tell(self, what: str, **more: Any) -> None:
        getattr(self.callback, what)(self.arguments, self.state, self.control, model=None, **more)
