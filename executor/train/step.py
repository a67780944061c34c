"""One optimiser step, and the loss it is taken on: over any number of batches, in the memory there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from executor.encode import Example
from executor.errors import UserError
from executor.spec import TrainSpec
from executor.train import attention
from executor.train.attention import laid_out
from executor.train.batch import IGNORE, Batch, make_batch
from executor.train.compiled import compile_layers
from executor.train.cross_entropy import cross_entropy
from executor.train.fast import quicken
from executor.train.flat import FlatParameters
from executor.train.model import device, trainable
from executor.train.world import ALONE, World

PLACES = 16
"""positions to a multiple of which logits are computed, so that few different sizes occur"""


def prepared(model: Any, settings: TrainSpec) -> FlatParameters:
    """The trained parameters as one tensor; layers are compiled, or on a CPU replaced by faster ones."""
    if settings.compile:
        compile_layers(model)
    return quicken(model) if device().type == "cpu" and not settings.compile else FlatParameters(trainable(model))


def make_optimizer(flat: FlatParameters, settings: TrainSpec) -> torch.optim.Optimizer:
    """AdamW over the one tensor, fused."""
    return torch.optim.AdamW([flat.whole], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def step_that_fits(
    model: Any,
    examples: Sequence[Example],
    settings: TrainSpec,
    flat: FlatParameters,
    optimizer: torch.optim.Optimizer,
    micro: int,
    world: World = ALONE,
) -> tuple[float, float, int]:
    """One step on `examples`, `micro` rows at a time: (loss, gradient norm before clipping, micro).

    Each process of `world` computes its share of the examples. Where memory runs out `micro` is halved and the share
    begins anew; the step's result is that of the whole batch. Raises UserError where not even one row fits.
    """
    count = max(1, sum(sum(example.trained[1:]) for example in examples))
    loss, micro = add_gradients(model, world.share(examples), count, settings, flat, micro)
    loss, micro = world.total(loss), world.least(micro)
    world.add_up(flat.gradient)
    norm = torch.nn.utils.clip_grad_norm_([flat.whole], settings.max_grad_norm)
    if torch.isfinite(norm):
        optimizer.step()
    flat.clear()
    return loss, norm.item(), micro


def add_gradients(
    model: Any, examples: Sequence[Example], count: int, settings: TrainSpec, flat: FlatParameters, micro: int
) -> tuple[float, int]:
    """Add the gradient of the examples' loss divided by `count` to the flat one: (that loss, micro)."""
    while True:
        try:
            loss = 0.0
            for start in range(0, len(examples), micro):
                part = batch_loss(model, batch_of(model, examples[start : start + micro], settings), settings)[0]
                part = part / count
                if part.requires_grad:  # nothing is trained where no token is
                    part.backward()  # type: ignore[no-untyped-call]
                loss += part.item()
            return loss, micro
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if micro == 1:
                longest = max(len(example.ids) for example in examples)
                raise UserError(
                    f"Not even one row of {longest} tokens fits in memory", device().type,
                    "Lower train.max_length, choose a smaller base model, or train with --method qlora.",
                ) from error  # fmt: skip
        micro //= 2
        flat.clear()
        if device().type == "cuda":
            torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)


def batch_loss(model: Any, batch: Batch, settings: TrainSpec) -> tuple[torch.Tensor, int]:
    """(sum of the cross entropy over trained tokens, their number); logits exist only where a target is."""
    if not bool((batch.targets != IGNORE).any()):
        return torch.zeros((), device=batch.targets.device), 0
    places = places_with_targets(batch.targets)
    mixed = settings.method == "full" and settings.dtype == "bfloat16"
    with laid_out(batch.layout), torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=mixed):
        logits = model(**batch.inputs, logits_to_keep=places, use_cache=False).logits
    targets = batch.targets[:, places]
    return cross_entropy(logits, targets), int((targets != IGNORE).sum())


def places_with_targets(targets: torch.Tensor) -> torch.Tensor:
    """Positions where a row of (B, T) has a target, and a few more: a multiple of PLACES, or all."""
    wanted = (targets != IGNORE).any(dim=0)
    more = (~wanted).nonzero().squeeze(1)[: -int(wanted.sum()) % PLACES]
    return torch.cat([wanted.nonzero().squeeze(1), more]).sort().values


def compute_type(settings: TrainSpec) -> torch.dtype:
    found: torch.dtype = getattr(torch, settings.dtype)
    return found


def blocks(model: Any) -> bool:
    """Whether the model's attention computes by blocks."""
    return bool(model.config._attn_implementation == attention.NAME)


@torch.no_grad()
def evaluation_loss(
    model: Any, examples: Sequence[Example], settings: TrainSpec, size: int, world: World = ALONE
) -> float:
    """Mean cross entropy (nats) of all trained tokens of `examples`, `size` rows at a time."""
    model.eval()
    examples = world.share(examples)
    total, count = 0.0, 0
    for start in range(0, len(examples), size):
        loss, tokens = batch_loss(model, batch_of(model, examples[start : start + size], settings), settings)
        total, count = total + loss.item(), count + tokens
    model.train()
    return world.total(total) / max(1, world.total(count))


def batch_of(model: Any, examples: Sequence[Example], settings: TrainSpec) -> Batch:
    """The cheapest exact layout of these examples, on the device."""
    of_one = settings.share_prefix, compute_type(settings), blocks(model), settings.compile
    return to_device(make_batch(examples, *of_one))


def to_device(batch: Batch) -> Batch:
    where = device()
    inputs = {key: value.to(where) for key, value in batch.inputs.items()}
    layout = batch.layout.to(where) if batch.layout else None
    return Batch(inputs, batch.targets.to(where), batch.tokens, layout)
