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
from executor.train.batch import IGNORE, Batch, batch_rows, make_batch
from executor.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from executor.train.encode import Example, encode_all
from executor.train.model import device, trainable

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
    names, optimizer = make_optimizer(model, settings)
    progress = load_checkpoint(run.checkpoints, names, optimizer)
    forget_metrics_after(run, progress.step)
    every = settings.evaluate_every or steps_per_epoch(len(rows), len(replay), settings.batch_size)
    dtype = next(model.parameters()).dtype
    if progress.step == 0 and held_out:
        progress = evaluate_step(model, held_out, settings, run, progress, dtype)
    model.train()
    while progress.step < settings.steps:
        started = time.perf_counter()
        chosen = batch_rows(len(rows), len(replay), progress.step, settings.batch_size, settings.seed)
        batch = to_device(make_batch([every_row[i] for i in chosen], settings.share_prefix, dtype))
        set_learning_rate(optimizer, learning_rate(settings, progress.step))
        loss, norm = optimizer_step(model, batch, optimizer, settings.max_grad_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"Step {progress.step + 1}: loss {loss}, gradient norm {norm}", run.name,
                "Lower train.learning_rate (by 3 to 10 times) and train again.",
            )  # fmt: skip
        progress = replace(
            progress,
            step=progress.step + 1,
            tokens=progress.tokens + batch.tokens,
            seconds=progress.seconds + time.perf_counter() - started,
            train_loss=loss,
        )
        append_jsonl(run.metrics_file, step_line(progress, optimizer, norm))
        report(progress.step, settings.steps, "steps")
        if held_out and (progress.step % every == 0 or progress.step == settings.steps):
            progress = evaluate_step(model, held_out, settings, run, progress, dtype)
        last, asked_to_stop = progress.step == settings.steps, stop()
        if last or progress.step % settings.checkpoint_every == 0 or asked_to_stop:
            save_checkpoint(run.checkpoints, names, optimizer, progress, settings.keep_checkpoints)
        if asked_to_stop and not last:
            raise Interrupted(
                "Stopped as asked; the work so far is saved",
                run.name,
                f"Resume with `finetune train --resume {run.name}`.",
            )
    model.eval()
    check_adapter(model)
    return metrics(progress, model)


def make_optimizer(model: Any, settings: TrainSpec) -> tuple[list[str], torch.optim.Optimizer]:
    """AdamW over the trainable parameters, fused, with their names in the same order."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable(model), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    return names, optimizer


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


def optimizer_step(model: Any, batch: Batch, optimizer: torch.optim.Optimizer, max_norm: float) -> tuple[float, float]:
    """One step on one batch: (loss, gradient norm before clipping)."""
    total, count = batch_loss(model, batch)
    loss = total / count
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], max_norm)
    if torch.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad()
    return loss.item(), norm.item()


def batch_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum of the cross entropy over trained tokens, their number); logits exist only where a target is."""
    places = (batch.targets != IGNORE).any(dim=0).nonzero().squeeze(1)
    logits = model(**batch.inputs, logits_to_keep=places, use_cache=False).logits
    targets = batch.targets[:, places]
    kept = targets != IGNORE
    total = torch.nn.functional.cross_entropy(logits[kept].float(), targets[kept], reduction="sum")
    return total, int(kept.sum())


@torch.no_grad()
def evaluation_loss(model: Any, examples: Sequence[Example], settings: TrainSpec, dtype: torch.dtype) -> float:
    """Mean cross entropy (nats) of all trained tokens of `examples`."""
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(examples), settings.batch_size):
        batch = to_device(make_batch(examples[start : start + settings.batch_size], settings.share_prefix, dtype))
        loss, tokens = batch_loss(model, batch)
        total, count = total + loss.item(), count + tokens
    model.train()
    return total / count


def evaluate_step(
    model: Any, examples: Sequence[Example], settings: TrainSpec, run: RunFolder, progress: Progress, dtype: torch.dtype
) -> Progress:
    loss = evaluation_loss(model, examples, settings, dtype)
    append_jsonl(run.metrics_file, {"step": progress.step, "eval_loss": loss, "seconds": progress.seconds})
    return replace(progress, eval_loss=loss)


def step_line(progress: Progress, optimizer: torch.optim.Optimizer, norm: float) -> dict[str, Any]:
    return {
        "step": progress.step,
        "loss": progress.train_loss,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "grad_norm": norm,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 4),
    }


def forget_metrics_after(run: RunFolder, step: int) -> None:
    """Drop lines that a killed process wrote after the checkpoint we resume from."""
    if run.metrics_file.exists():
        write_jsonl(run.metrics_file, [line for line in read_jsonl(run.metrics_file) if line["step"] <= step and step])


def to_device(batch: Batch) -> Batch:
    where = device()
    inputs = {key: value.to(where) for key, value in batch.inputs.items()}
    return Batch(inputs, batch.targets.to(where), batch.tokens)


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
