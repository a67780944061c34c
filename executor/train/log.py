"""The lines of metrics.jsonl, and the same figures for a tracker."""

from __future__ import annotations

import resource
from typing import Any

import torch

from executor.files import append_jsonl, read_jsonl, write_jsonl
from executor.run_folder import RunFolder
from executor.spec import RunSpec
from executor.train.checkpoint import Progress
from executor.train.model import device
from executor.train.tracker import Tracker
from executor.train.world import ALONE, World


class Log:
    """Appends a line a step and a line a validation, as they happen; only the first of several processes writes."""

    def __init__(self, run: RunFolder, spec: RunSpec, world: World = ALONE) -> None:
        self.run = run
        self.steps = spec.train.steps
        self.leads = world.leads
        self.tracker = Tracker(spec, run) if spec.tracker and world.leads else None

    def forget_after(self, step: int) -> None:
        """Drop lines that a killed process wrote after the checkpoint we resume from."""
        file = self.run.metrics_file
        if self.leads and file.exists():
            write_jsonl(file, [line for line in read_jsonl(file) if line["step"] <= step and step])

    def step(self, progress: Progress, rate: float, norm: float) -> None:
        """`remaining_seconds` is what the steps so far took, carried on."""
        left = self.steps - progress.step
        self._write(
            {
                "step": progress.step,
                "loss": progress.train_loss,
                "learning_rate": rate,
                "grad_norm": norm,
                "tokens": progress.tokens,
                "seconds": round(progress.seconds, 4),
                "tokens_per_second": round(progress.tokens / progress.seconds, 1) if progress.seconds else None,
                "memory_bytes": peak_memory(),
                "remaining_seconds": round(left * progress.seconds / progress.step, 1),
                **progress.told,
            }
        )

    def validation(self, progress: Progress) -> None:
        if progress.eval_loss is None:
            return
        line = {"step": progress.step, "eval_loss": progress.eval_loss, "seconds": progress.seconds}
        if progress.task_metric is not None:
            line["task_metric"] = progress.task_metric
        line |= {f"eval_{name}": value for name, value in progress.told.items()}
        self._write(line)

    def diverged(self, step: int, loss: float, norm: float) -> None:
        """The last line of a training that is no longer finite: numbers that JSON does not know, as words."""
        self._write({"step": step, "loss": str(loss), "grad_norm": str(norm)})

    def close(self) -> None:
        if self.tracker:
            self.tracker.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self.leads:
            append_jsonl(self.run.metrics_file, line)
        if self.tracker:
            self.tracker.log(line)


def peak_memory() -> int:
    """Bytes: of the GPU where one is used, else the resident set of this process (Linux counts in KiB)."""
    if device().type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
