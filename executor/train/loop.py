"""The training of one adapter, top to bottom: encode, batch, step, watch, checkpoint, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from executor.errors import FinetuneError, Interrupted
from executor.run_folder import RunFolder
from executor.spec import RunSpec, TrainSpec, steps_per_epoch
from executor.template import ChatTemplate
from executor.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from executor.train.flat import FlatParameters
from executor.train.log import Log, peak_memory
from executor.train.model import trainable
from executor.train.objective import OBJECTIVES, Objective
from executor.train.order import Order, make_order
from executor.train.step import make_optimizer, prepared, step_that_fits
from executor.train.watch import TaskMetric, Watch
from executor.train.world import ALONE, World

TRAINED = "trained"
"""the one tensor in a checkpoint that holds every trained parameter"""
Report = Callable[[int, int, str], None]
"""(done, total, unit)"""


class DivergedError(FinetuneError):
    """The loss or a gradient is no longer finite; nothing after the last checkpoint is kept."""

    exit_code = 1


def train(
    model: Any,
    run: RunFolder,
    spec: RunSpec,
    template: ChatTemplate,
    report: Report,
    stop: Callable[[], bool],
    task_metric: TaskMetric = lambda model: None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Train `model`'s adapter in place and return the contract's `metrics`.

    Resumes from the newest checkpoint if there is one. Raises Interrupted after saving when `stop()` turns true,
    DivergedError when a loss or gradient norm is not finite, UserError where rows cannot be trained as they are.
    """
    settings, objective = spec.train, OBJECTIVES[spec.train.objective]
    splits = [objective.encoded(run.rows(s), template, settings, s) for s in ("train", "replay", "validation")]
    rows, replay = len(splits[0]), len(splits[1])
    order = make_order(run.rows("train"), replay, settings)
    flat = prepared(model, settings)
    items = refer(model, run, objective, splits, order, settings, report, stop, world)
    trained, held_out = items[: rows + replay], items[rows + replay :]
    optimizer = make_optimizer(flat, settings)
    log = Log(run, spec, world)
    watch = Watch(run.checkpoints, settings, objective, held_out, task_metric, world)
    progress = load_checkpoint(run.checkpoints, [TRAINED], optimizer)
    log.forget_after(progress.step)
    every = settings.evaluate_every or steps_per_epoch(rows, replay, settings.batch_size)
    if progress.step == 0:
        micro = settings.micro_batch or settings.batch_size
        progress = watch.validate(model, flat, replace(progress, micro_batch=micro))
        log.validation(progress)
    model.train()
    while progress.step < settings.steps and not progress.ended:
        batch = [trained[i] for i in order.batch(progress.step)]
        progress, loss, norm = advance(model, batch, objective, settings, flat, optimizer, progress, world)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            log.diverged(progress.step, loss, norm)
            raise diverged(run, progress.step, loss, norm)
        log.step(progress, optimizer.param_groups[0]["lr"], norm)
        report(progress.step, settings.steps, "steps")
        if progress.step % every == 0 or progress.step == settings.steps:
            progress = watch.validate(model, flat, progress)
            log.validation(progress)
            progress = replace(progress, ended=watch.enough(progress))
        last, asked_to_stop = progress.step == settings.steps or progress.ended, world.any(stop())
        if (last or progress.step % settings.checkpoint_every == 0 or asked_to_stop) and world.leads:
            save_checkpoint(run.checkpoints, [TRAINED], optimizer, progress, settings.keep_checkpoints)
            watch.forget_others(progress)
        if asked_to_stop and not last:
            raise interrupted(run)
    watch.choose(flat, progress)
    model.eval()
    flat.release()
    check_adapter(model)
    log.close()
    return metrics(progress, model)


def refer(
    model: Any,
    run: RunFolder,
    objective: Objective,
    splits: list[list[Any]],
    order: Order,
    settings: TrainSpec,
    report: Report,
    stop: Callable[[], bool],
    world: World,
) -> list[Any]:
    """The items of all splits, those that are trained or validated with what the untrained model makes of them."""

    def guard(done: int, total: int, unit: str) -> None:
        report(done, total, unit)
        if stop() and world.size == 1:  # several must agree, as they do at the first step
            raise interrupted(run)

    def needed() -> set[int]:
        trained = {number for step in range(settings.steps) for number in order.batch(step)}
        return trained | set(range(len(items) - len(splits[-1]), len(items)))

    items = [item for split in splits for item in split]
    return objective.referred(model, items, needed, settings, run.reference, guard, world)


def advance(
    model: Any,
    items: list[Any],
    objective: Objective,
    settings: TrainSpec,
    flat: FlatParameters,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    world: World,
) -> tuple[Progress, float, float]:
    """One optimiser step on `items`: (progress after it, loss, gradient norm before clipping)."""
    started = time.perf_counter()
    world.draw_apart(settings.seed, progress.step)
    set_learning_rate(optimizer, learning_rate(settings, progress.step))
    done = step_that_fits(model, items, objective, settings, flat, optimizer, progress.micro_batch, world)
    after = replace(
        progress,
        step=progress.step + 1,
        micro_batch=done.micro,
        tokens=progress.tokens + sum(len(example.ids) for example in objective.examples(items)),
        seconds=progress.seconds + time.perf_counter() - started,
        train_loss=done.loss,
        told=done.told,
    )
    return after, done.loss, done.norm


def interrupted(run: RunFolder) -> Interrupted:
    fix = f"Resume with `finetune train --resume {run.name}`."
    return Interrupted("Stopped as asked; the work so far is saved", run.name, fix)


def diverged(run: RunFolder, step: int, loss: float, norm: float) -> DivergedError:
    return DivergedError(
        f"Step {step}: loss {loss}, gradient norm {norm}", run.name,
        "Lower train.learning_rate (by 3 to 10 times) and train again.",
    )  # fmt: skip


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
        "eval_loss": progress.eval_loss if progress.best_step is None else progress.best_loss,
        "steps": progress.step,
        "tokens": progress.tokens,
        "tokens_per_second": progress.tokens / progress.seconds if progress.seconds else None,
        "peak_memory_bytes": peak_memory(),
        "seconds": progress.seconds,
        "trainable_parameters": sum(parameter.numel() for parameter in trainable(model)),
        "task_metric": progress.task_metric if progress.best_step is None else progress.best_metric,
        "best_step": progress.best_step,
        "ended_early": progress.ended,
        "micro_batch": progress.micro_batch,
    }
