"""Attention of many rows behind one prefix: its keys and values are held once, and read once for all rows.

Each row attends to the prefix and to its own tokens; the two parts are put together by their log-sum-exp, which gives
the softmax over both (as FlashAttention does between blocks, Dao 2022).
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from executor.train.fast import has_plain_attention, is_plain

NAME = "behind_prefix"
"""what `attn_implementation` calls it; no mask is registered for it, so transformers makes none"""
Part = tuple[Tensor, Tensor]
"""(..., T, D) of keys and of values"""


class Behind:
    """What the layers keep of a prefix of P tokens, and of R rows behind it.

    A row's own tokens are filled up on the left to W, the longest; what is written comes after them.
    """

    def __init__(self, prefix: dict[int, Part] | None = None) -> None:
        self.prefix = {} if prefix is None else prefix
        self.own: dict[int, Part] = {}
        self.bias: Tensor | None = None
        """(R, 1, n, T) to add to the scores of a row's own tokens; None while the prefix is computed"""
        self.absent = torch.empty(0, 0)
        """(R, W): where a row has no token"""
        self.room = self.written = 0
        self.whole: tuple[Behind, slice] | None = None
        """of a part: the state of all rows, and which of them these are"""

    def rows(self, absent: Tensor, room: int) -> Behind:
        """The state of rows behind this prefix, with room for so many tokens that are written."""
        found = Behind(self.prefix)
        found.absent, found.room = absent, room
        return found

    def part(self, rows: slice, width: int) -> Behind:
        """Some of the rows, whose own tokens are at most so many, before anything is written."""
        found = Behind(self.prefix)
        found.absent, found.whole = self.absent[rows, self.absent.shape[1] - width :], (self, rows)
        hidden = torch.ones(width, width, dtype=torch.bool, device=found.absent.device).triu(1) | found.absent[:, None]
        hidden.diagonal(dim1=1, dim2=2).fill_(False)  # a place without a token sees itself: a softmax needs a key
        found.bias = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, -torch.inf)[:, None]
        return found

    def step(self) -> None:
        """One token more for every row."""
        self.written += 1
        rows, width = self.absent.shape
        self.bias = torch.zeros(rows, 1, 1, width + self.written, device=self.absent.device)
        self.bias[:, 0, 0, :width].masked_fill_(self.absent, -torch.inf)

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        self.absent = self.absent[rows]
        self.own = {layer: (k[rows], v[rows]) for layer, (k, v) in self.own.items()}

    def add(self, layer: int, key: Tensor, value: Tensor) -> Part:
        """Keys and values of a layer's own tokens, these among them."""
        state, rows = self.whole or (self, slice(None))
        width = state.absent.shape[1]
        if layer not in state.own:
            # zeros: a place that no row fills is weighed with nothing, and nothing times garbage may be no number
            shape = (len(state.absent), key.shape[1], width + state.room, key.shape[3])
            state.own[layer] = key.new_zeros(shape), value.new_zeros(shape)
        last = width + self.written
        for held, part in zip(state.own[layer], (key, value), strict=True):
            held[rows, :, last - key.shape[2] : last] = part
        if self.whole:
            return key, value
        return state.own[layer][0][:, :, :last], state.own[layer][1][:, :, :last]


_state: Behind | None = None


@contextmanager
def behind(state: Behind) -> Iterator[None]:
    """The state that the model's layers read and fill in this block."""
    global _state
    before, _state = _state, state
    try:
        yield
    finally:
        _state = before


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (R, H, n, D), key and value (R, KV, n, D) to (R, n, H, D)."""
    if _state is None:
        raise RuntimeError("this attention is only for rows behind a prefix")
    layer: int = module.layer_idx  # type: ignore[assignment]
    query, key = query.to(value.dtype), key.to(value.dtype)
    if _state.bias is None:
        _state.prefix[layer] = key, value
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, None, is_causal=True, **options)
        return found
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    rows, heads, count, width = query.shape
    groups = key.shape[1]
    own = _state.add(layer, key, value)
    # the heads that read one key-value head stand one after another: (R, KV, G * n, D)
    grouped = query.reshape(rows, groups, -1, width)
    bias = _state.bias.repeat(1, 1, heads // groups, 1)
    out, weight = one_part(grouped, *own, bias, scale)
    if layer in _state.prefix:
        k, v = _state.prefix[layer]
        together = grouped.transpose(0, 1).reshape(1, groups, -1, width)
        seen, other = one_part(together, k, v, None, scale)
        seen = seen.view(groups, rows, -1, width).transpose(0, 1)
        other = other.reshape(groups, rows, -1).transpose(0, 1)
        # of the sum of both parts' exponentials, the share of the prefix
        share = torch.sigmoid(other - weight)[..., None]
        out = torch.lerp(out.float(), seen.float(), share)
    return out.to(value.dtype).reshape(rows, heads, count, width).transpose(1, 2), None


def one_part(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(q k^T * scale + bias) v (B, H, n, D), and the log of the sum of the exponentials (B, H, n)."""
    if q.device.type == "cpu":
        found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, attn_mask=bias, scale=scale
        )
        return found
    return plain_part(q, k, v, bias, scale)


def plain_part(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """The same by matrix products, for devices without that kernel."""
    scores = (q @ k.mT).float() * scale + (0.0 if bias is None else bias)
    return (scores.softmax(-1).to(v.dtype) @ v), scores.logsumexp(-1)


AttentionInterface.register(NAME, attention)


@contextmanager
def quick(model: Any) -> Iterator[bool]:
    """In this block the model answers behind a shared prefix, where its attention is plain; whether it is.

    Plain LoRA layers are computed as peft does, without its wrapping.
    """
    config = model.config
    if not has_plain_attention(config):
        yield False
        return
    before, changed = config._attn_implementation, []
    for module in model.modules():
        if isinstance(module, LoraLinear) and is_plain(module):
            changed.append(module)
            module.forward = _light(module)
    model.set_attn_implementation(NAME)
    # the last hidden state of each row is a slice: of one that is not contiguous, a frozen head is copied for each row
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    try:
        yield True
    finally:
        hook.remove()
        model.set_attn_implementation(before)
        for module in changed:
            del module.forward


def _light(module: Any) -> Any:
    """The layer's forward pass as peft computes it, A and B in float32, added before rounding."""
    weight, bias, name = module.base_layer.weight, module.base_layer.bias, module.active_adapters[0]
    low, up = module.lora_A[name].weight.detach(), module.lora_B[name].weight.detach() * module.scaling[name]

    def forward(x: Tensor) -> Tensor:
        out = torch.nn.functional.linear(x, weight, bias)
        if module.disable_adapters or module.merged:
            return out
        inner = torch.nn.functional.linear(x.to(low.dtype), low)
        return (
            torch.addmm(out.view(-1, out.shape[-1]).to(low.dtype), inner.view(-1, len(low)), up.T)
            .to(out.dtype)
            .view_as(out)
        )

    return forward
