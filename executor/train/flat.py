"""Trained parameters as one tensor: clipping, the optimiser's step and clearing gradients take one operation each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """Trained parameters laid out one after another in `whole`; each becomes a view of its part, its gradient too.

    An elementwise optimiser such as AdamW does the same to the whole as to its parts.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        sizes = [parameter.numel() for parameter in self._parameters]
        self.whole = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in self._parameters]))
        self.gradient = torch.zeros_like(self.whole)
        self.whole.grad = self.gradient
        self._starts: dict[int, int] = {}
        start = 0
        for parameter, size in zip(self._parameters, sizes, strict=True):
            self._starts[id(parameter)] = start
            parameter.data = self.whole.detach()[start : start + size].view_as(parameter)
            parameter.grad = self.gradient[start : start + size].view_as(parameter)
            start += size
        self._low: Tensor | None = None

    def refresh(self, dtype: torch.dtype) -> None:
        """Round all values to `dtype` at once, for the forward pass that begins."""
        self._low = self.whole.detach().to(dtype)

    def rounded(self, parameters: Sequence[nn.Parameter], shape: Sequence[int]) -> Tensor:
        """Parameters that lie side by side, as `refresh` rounded them, as one tensor."""
        assert self._low is not None  # noqa: S101 (the model's forward pass begins with `refresh`)
        return self._part(self._low, parameters, shape)

    def gradients(self, parameters: Sequence[nn.Parameter], shape: Sequence[int]) -> Tensor:
        """The gradients of parameters that lie side by side, as one tensor to add to."""
        return self._part(self.gradient, parameters, shape)

    def _part(self, of: Tensor, parameters: Sequence[nn.Parameter], shape: Sequence[int]) -> Tensor:
        start = self._starts[id(parameters[0])]
        return of[start : start + sum(parameter.numel() for parameter in parameters)].view(shape)

    def clear(self) -> None:
        self.gradient.zero_()

    def release(self) -> None:
        """Give every parameter memory of its own again: a saved model must not share any."""
        for parameter in self._parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None
