"""What a model's replies are scored by: cross entropy, or the probability of each reply; in the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from executor.encode import Example
from executor.errors import UserError
from executor.spec import TrainSpec
from executor.train import attention
from executor.train.attention import laid_out
from executor.train.batch import IGNORE, Batch, make_batch
from executor.train.cross_entropy import token_losses
from executor.train.model import device

PLACES = 16
"""positions to a multiple of which logits are computed, so that few different sizes occur"""
Item = TypeVar("Item")


def batch_loss(model: Any, batch: Batch, settings: TrainSpec, scale: float = 1.0) -> torch.Tensor:
    """`scale` times the sum of the cross entropy (nats) over trained tokens."""
    losses, _ = target_losses(model, batch, settings, scale)
    return losses.sum()


def log_probabilities(model: Any, examples: Sequence[Example], settings: TrainSpec) -> torch.Tensor:
    """(N,): the natural logarithm of the probability of each example's trained tokens, together."""
    batch = batch_of(model, examples, settings)
    losses, owners = target_losses(model, batch, settings)
    return losses.new_zeros(len(examples)).index_add(0, owners, -losses)


def target_losses(
    model: Any, batch: Batch, settings: TrainSpec, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M,) losses of targets, and whose each is; logits exist only where a row has a target."""
    if not bool((batch.targets != IGNORE).any()):
        nothing = torch.zeros(0, device=batch.targets.device)
        return nothing, nothing.long()
    places = places_with_targets(batch.targets)
    mixed = settings.method == "full" and settings.dtype == "bfloat16"
    with laid_out(batch.layout), torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=mixed):
        logits = model(**batch.inputs, logits_to_keep=places, use_cache=False).logits
    return token_losses(logits, batch.targets[:, places], scale), batch.owners[:, places].flatten()


def places_with_targets(targets: torch.Tensor) -> torch.Tensor:
    """Positions where a row of (B, T) has a target, and a few more: a multiple of PLACES, or all."""
    wanted = (targets != IGNORE).any(dim=0)
    more = (~wanted).nonzero().squeeze(1)[: -int(wanted.sum()) % PLACES]
    return torch.cat([wanted.nonzero().squeeze(1), more]).sort().values


def batch_of(model: Any, examples: Sequence[Example], settings: TrainSpec) -> Batch:
    """The cheapest exact layout of these examples, on the device."""
    of_one = settings.share_prefix, getattr(torch, settings.dtype), blocks(model), settings.compile
    return to_device(make_batch(examples, *of_one))


def blocks(model: Any) -> bool:
    """Whether the model's attention computes by blocks."""
    return bool(model.config._attn_implementation == attention.NAME)


def to_device(batch: Batch) -> Batch:
    where = device()
    inputs = {key: value.to(where) for key, value in batch.inputs.items()}
    layout = batch.layout.to(where) if batch.layout else None
    return Batch(inputs, batch.targets.to(where), batch.tokens, batch.owners.to(where), layout)


def in_parts(
    items: Sequence[Item], micro: int, begin: Callable[[], None], compute: Callable[[Sequence[Item]], None]
) -> int:
    """Compute all items, `micro` at a time; where memory runs out, begin anew with half as many: how many it became.

    Raises UserError where not even one fits.
    """
    size = micro
    while True:
        begin()
        try:
            for start in range(0, len(items), size):
                compute(items[start : start + size])
            return size
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise UserError(
                    "Not even one row fits in memory", device().type,
                    "Lower train.max_length, choose a smaller base model, or train with --method qlora.",
                ) from error  # fmt: skip
        size = max(1, min(size, len(items)) // 2)
        if device().type == "cuda":
            torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)
