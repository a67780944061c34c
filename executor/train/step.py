"""One optimiser step, and what validation rows are measured by: over any number of batches, in the memory there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from executor.spec import TrainSpec
from executor.train.compiled import compile_layers
from executor.train.fast import quicken
from executor.train.flat import FlatParameters
from executor.train.loss import in_parts
from executor.train.model import device, trainable
from executor.train.objective import Objective
from executor.train.world import ALONE, World


def prepared(model: Any, settings: TrainSpec) -> FlatParameters:
    """The trained parameters as one tensor; layers are compiled, or on a CPU replaced by faster ones."""
    if settings.compile:
        compile_layers(model)
    return quicken(model) if device().type == "cpu" and not settings.compile else FlatParameters(trainable(model))


def make_optimizer(flat: FlatParameters, settings: TrainSpec) -> torch.optim.Optimizer:
    """AdamW over the one tensor, fused."""
    return torch.optim.AdamW([flat.whole], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


class Step(NamedTuple):
    loss: float
    norm: float
    """of the gradient, before clipping"""
    micro: int
    """items computed at once in the end"""
    told: dict[str, float]
    """means of what the objective measures beside the loss"""


def step_that_fits(
    model: Any,
    items: Sequence[Any],
    objective: Objective,
    settings: TrainSpec,
    flat: FlatParameters,
    optimizer: torch.optim.Optimizer,
    micro: int,
    world: World = ALONE,
) -> Step:
    """One step on `items`, `micro` of them at a time.

    Each process of `world` computes its share of the items. Where memory runs out `micro` is halved and the share
    begins anew; the step's result is that of the whole batch. Raises UserError where not even one item fits.
    """
    count = max(1, objective.count(items))
    sums: dict[str, float] = {}

    def begin() -> None:
        flat.clear()
        sums.update(dict.fromkeys(("loss", *objective.told), 0.0))

    def compute(part: Sequence[Any]) -> None:
        loss, told = objective.loss(model, part, settings, 1 / count)
        if loss.requires_grad:  # nothing is trained where no token is
            loss.backward()  # type: ignore[no-untyped-call]
        sums["loss"] += loss.item()
        for name, value in told.items():
            sums[name] += value / count

    micro = world.least(in_parts(world.share(items), micro, begin, compute))
    means = {name: world.total(value) for name, value in sums.items()}
    world.add_up(flat.gradient)
    norm = torch.nn.utils.clip_grad_norm_([flat.whole], settings.max_grad_norm)
    if torch.isfinite(norm):
        optimizer.step()
    flat.clear()
    return Step(means.pop("loss"), norm.item(), micro, means)


@torch.no_grad()
def validation(
    model: Any, items: Sequence[Any], objective: Objective, settings: TrainSpec, size: int, world: World = ALONE
) -> tuple[float, dict[str, float]]:
    """(mean loss of `items`, `size` at a time where memory allows; means of what else the objective measures)."""
    model.eval()
    count = max(1, objective.count(items))
    sums: dict[str, float] = {}

    def compute(part: Sequence[Any]) -> None:
        loss, told = objective.loss(model, part, settings)
        sums["loss"] += loss.item()
        for name, value in told.items():
            sums[name] += value

    names = ("loss", *objective.told)
    in_parts(world.share(items), size, lambda: sums.update(dict.fromkeys(names, 0.0)), compute)
    model.train()
    means = {name: world.total(value) / count for name, value in sums.items()}
    return means.pop("loss"), means
