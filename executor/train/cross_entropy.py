"""Cross entropy of many logits in one pass over few rows at a time, which stay in the cache; its gradient with it."""

# mypy: allow-untyped-calls, no-warn-return-any
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from executor.train.batch import IGNORE

AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
"""logits at once in float32: on a CPU as many as its cache holds"""


def token_losses(logits: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """-scale ln softmax(logits)[target] of each target, 0 for IGNORE; logits (..., V), targets (...) to (M,)."""
    return _TokenLosses.apply(logits.flatten(0, -2), targets.flatten(), scale)


class _TokenLosses(torch.autograd.Function):
    """The gradient, scale * (softmax(logits) less 1 at the target), is computed along; sums are in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, scale: float) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        losses = torch.empty(len(logits), dtype=wide, device=logits.device)
        gradient = torch.empty_like(logits) if logits.requires_grad else None
        rows = max(1, AT_ONCE.get(logits.device.type, 1 << 20) // logits.shape[-1])
        for start in range(0, len(logits), rows):
            part = slice(start, start + rows)
            kept = scale * (targets[part] != IGNORE)[:, None].to(wide)
            at = targets[part, None].clamp(min=0)
            values = logits[part].to(wide, copy=True)
            largest, own = values.amax(-1, keepdim=True), values.gather(1, at)
            mass = values.sub_(largest).exp_().sum(-1, keepdim=True)
            losses[part] = torch.where(kept > 0, (mass.log() + largest - own) * kept, 0).squeeze(1)
            if gradient is not None:
                values.mul_(kept / mass).scatter_add_(1, at, -kept)
                gradient[part] = values
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        if grad.is_cpu and bool((grad == 1).all()):  # a plain sum: no pass over all logits for nothing
            return gradient, None, None
        return gradient.mul_(grad[:, None]), None, None  # in place: a graph is walked once
