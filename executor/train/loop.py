"""The training of one adapter, top to bottom: encode, batch, step, watch, checkpoint, save."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from executor.errors import FinetuneError, Interrupted
from executor.files import append_jsonl, read_jsonl, write_jsonl
from executor.run_folder import RunFolder
from executor.spec import RunSpec, TrainSpec, steps_per_epoch
from executor.template import ChatTemplate
from executor.train.batch import batch_rows
from executor.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from executor.train.encode import Example, encode_all
from executor.train.model import device, trainable
from executor.train.step import evaluation_loss, make_optimizer, prepared, step_that_fits

TRAINED = "trained"
"""the one tensor in a checkpoint that holds every trained parameter"""
Report = Callable[[int, int, str], None]
"""(done, total, unit)"""


class DivergedError(FinetuneError):
    """The loss or a gradient is no longer finite; nothing after the last checkpoint is kept."""

    exit_code = 1


def train(
    model: Any, run: RunFolder, spec: RunSpec, template: ChatTemplate, report: Report, stop: Callable[[], bool]
) -> dict[str, Any]:
    """Train `model`'s adapter in place and return the contract's `metrics`.

    Resumes from the newest checkpoint if there is one. Raises Interrupted after saving when `stop()` turns true,
    DivergedError when a loss or gradient norm is not finite, UserError where rows cannot be trained as they are.
    """
    settings = spec.train
    rows = encode_all(run.rows("train"), template, settings.max_length, "train")
    held_out = encode_all(run.rows("validation"), template, settings.max_length, "validation")
    replay = encode_all(run.rows("replay"), template, settings.max_length, "replay")
    every_row = [*rows, *replay]
    flat = prepared(model)
    optimizer = make_optimizer(flat, settings)
    progress = load_checkpoint(run.checkpoints, [TRAINED], optimizer)
    forget_metrics_after(run, progress.step)
    every = settings.evaluate_every or steps_per_epoch(len(rows), len(replay), settings.batch_size)
    if progress.step == 0:
        progress = replace(progress, micro_batch=settings.micro_batch or settings.batch_size)
        if held_out:
            progress = evaluate_step(model, held_out, settings, run, progress)
    model.train()
    while progress.step < settings.steps:
        started = time.perf_counter()
        chosen = batch_rows(len(rows), len(replay), progress.step, settings.batch_size, settings.seed)
        set_learning_rate(optimizer, learning_rate(settings, progress.step))
        examples = [every_row[i] for i in chosen]
        loss, norm, micro = step_that_fits(model, examples, settings, flat, optimizer, progress.micro_batch)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"Step {progress.step + 1}: loss {loss}, gradient norm {norm}", run.name,
                "Lower train.learning_rate (by 3 to 10 times) and train again.",
            )  # fmt: skip
        progress = replace(
            progress,
            step=progress.step + 1,
            micro_batch=micro,
            tokens=progress.tokens + sum(len(example.ids) for example in examples),
            seconds=progress.seconds + time.perf_counter() - started,
            train_loss=loss,
        )
        append_jsonl(run.metrics_file, step_line(progress, settings, optimizer, norm))
        report(progress.step, settings.steps, "steps")
        if held_out and (progress.step % every == 0 or progress.step == settings.steps):
            progress = evaluate_step(model, held_out, settings, run, progress)
        last, asked_to_stop = progress.step == settings.steps, stop()
        if last or progress.step % settings.checkpoint_every == 0 or asked_to_stop:
            save_checkpoint(run.checkpoints, [TRAINED], optimizer, progress, settings.keep_checkpoints)
        if asked_to_stop and not last:
            raise Interrupted(
                "Stopped as asked; the work so far is saved",
                run.name,
                f"Resume with `finetune train --resume {run.name}`.",
            )
    model.eval()
    flat.release()
    check_adapter(model)
    return metrics(progress, model)


def learning_rate(settings: TrainSpec, step: int) -> float:
    """Linear warm-up, then cosine decay to zero. `step` is 0-based."""
    warmup = max(1, round(settings.steps * settings.warmup_share))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def evaluate_step(
    model: Any, examples: Sequence[Example], settings: TrainSpec, run: RunFolder, progress: Progress
) -> Progress:
    loss = evaluation_loss(model, examples, settings, progress.micro_batch or settings.batch_size)
    append_jsonl(run.metrics_file, {"step": progress.step, "eval_loss": loss, "seconds": progress.seconds})
    return replace(progress, eval_loss=loss)


def step_line(progress: Progress, settings: TrainSpec, optimizer: torch.optim.Optimizer, norm: float) -> dict[str, Any]:
    """A line of metrics.jsonl; `remaining_seconds` is what the steps so far took, carried on."""
    left = settings.steps - progress.step
    return {
        "step": progress.step,
        "loss": progress.train_loss,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "grad_norm": norm,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 4),
        "tokens_per_second": round(progress.tokens / progress.seconds, 1) if progress.seconds else None,
        "memory_bytes": peak_memory(),
        "remaining_seconds": round(left * progress.seconds / progress.step, 1),
    }


def forget_metrics_after(run: RunFolder, step: int) -> None:
    """Drop lines that a killed process wrote after the checkpoint we resume from."""
    if run.metrics_file.exists():
        write_jsonl(run.metrics_file, [line for line in read_jsonl(run.metrics_file) if line["step"] <= step and step])


def check_adapter(model: Any) -> None:
    """Raises DivergedError where a trained weight is not finite: such an adapter is never saved as success."""
    if not all(torch.isfinite(parameter).all() for parameter in trainable(model)):
        raise DivergedError(
            "The adapter holds weights that are not finite", "", "Lower train.learning_rate and train again."
        )


def metrics(progress: Progress, model: Any) -> dict[str, Any]:
    """The contract's `metrics`; tokens per second over the seconds of the steps themselves."""
    return {
        "train_loss": progress.train_loss,
        "eval_loss": progress.eval_loss,
        "steps": progress.step,
        "tokens": progress.tokens,
        "tokens_per_second": progress.tokens / progress.seconds if progress.seconds else None,
        "peak_memory_bytes": peak_memory(),
        "seconds": progress.seconds,
        "trainable_parameters": sum(parameter.numel() for parameter in trainable(model)),
    }


def peak_memory() -> int:
    """Bytes: of the GPU where one is used, else the resident set of this process (Linux counts in KiB)."""
    if device().type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
