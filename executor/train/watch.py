"""What is watched while a training goes on: validations, the best state, and when to end early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from executor.files import replacing
from executor.spec import TrainSpec
from executor.train.checkpoint import Progress
from executor.train.compiled import plainly
from executor.train.flat import FlatParameters
from executor.train.objective import Objective
from executor.train.step import validation
from executor.train.world import ALONE, World

BEST = "best"
TaskMetric = Callable[[Any], float | None]
"""the model's mean score, 0 to 1, on a sample of the validation rows; None where there is none"""


@dataclass(frozen=True)
class Watch:
    """Validates, keeps the best state under `folder/best-STEP`, and says when to stop."""

    folder: Path
    settings: TrainSpec
    objective: Objective
    held_out: Sequence[Any]
    """the objective's items"""
    task_metric: TaskMetric
    world: World = ALONE

    def validate(self, model: Any, flat: FlatParameters, progress: Progress) -> Progress:
        """Measure the validation rows; the state before the first step is measured, but never chosen."""
        if not self.held_out:
            return progress
        size = progress.micro_batch or self.settings.batch_size
        with plainly():
            loss, told = validation(model, self.held_out, self.objective, self.settings, size, self.world)
            metric = self.world.from_first(self._task_metric(model) if self.world.leads else None)
        progress = replace(progress, eval_loss=loss, task_metric=metric, told=told)
        if progress.step == 0 or self.settings.select == "last":
            return progress
        value = -loss if self.settings.select == "eval_loss" or metric is None else metric
        better = progress.best_value is None or (value, -loss) > (progress.best_value, -(progress.best_loss or loss))
        if not better:
            return replace(progress, worse=progress.worse + 1)
        if self.world.leads:
            self._keep(flat, progress.step)
        return replace(progress, best_step=progress.step, best_value=value, best_loss=loss, best_metric=metric, worse=0)

    def _task_metric(self, model: Any) -> float | None:
        model.eval()
        found = self.task_metric(model)
        model.train()
        return found

    def enough(self, progress: Progress) -> bool:
        """Whether so many validations in a row brought nothing better."""
        return 0 < self.settings.patience <= progress.worse

    def forget_others(self, progress: Progress) -> None:
        """Drop best states that no checkpoint names any more; call after a checkpoint was saved."""
        for path in self.folder.glob(f"{BEST}-*"):
            if path.name != f"{BEST}-{progress.best_step}.safetensors":
                path.unlink(missing_ok=True)

    def choose(self, flat: FlatParameters, progress: Progress) -> None:
        """Put the best state back where it is not the last one."""
        if progress.best_step not in (None, progress.step):
            with torch.no_grad():
                flat.whole.copy_(load_file(self._file(progress.best_step))["trained"])

    def _file(self, step: int | None) -> Path:
        return self.folder / f"{BEST}-{step}.safetensors"

    def _keep(self, flat: FlatParameters, step: int) -> None:
        with replacing(self._file(step)) as temporary:
            save_file({"trained": flat.whole.detach()}, temporary)
