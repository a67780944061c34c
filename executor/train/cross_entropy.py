"""Cross entropy of many logits in one pass over few rows at a time, which stay in the cache; its gradient with it."""

# mypy: allow-untyped-calls, no-warn-return-any
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from executor.train.batch import IGNORE

AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
"""logits at once in float32: on a CPU as many as its cache holds"""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of -ln softmax(logits)[target] over all targets but IGNORE; logits (..., V), targets (...)."""
    return _CrossEntropy.apply(logits.flatten(0, -2), targets.flatten())


class _CrossEntropy(torch.autograd.Function):
    """The gradient, softmax(logits) less 1 at the target, is computed along; sums are in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=logits.device)
        gradient = torch.empty_like(logits) if logits.requires_grad else None
        rows = max(1, AT_ONCE.get(logits.device.type, 1 << 20) // logits.shape[-1])
        for start in range(0, len(logits), rows):
            part = slice(start, start + rows)
            kept = (targets[part] != IGNORE)[:, None]
            at = targets[part, None].clamp(min=0)
            values = logits[part].to(wide, copy=True)
            largest, own = values.amax(-1, keepdim=True), values.gather(1, at)
            mass = values.sub_(largest).exp_().sum(-1, keepdim=True)
            total += torch.where(kept, mass.log() + largest - own, 0).sum()
            if gradient is not None:
                values.mul_(kept / mass).scatter_add_(1, at, -kept.to(wide))
                gradient[part] = values
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(grad), None  # in place: a graph is walked once
