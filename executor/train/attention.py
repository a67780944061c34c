"""Attention over a batch that is one sequence: a shared prefix, then suffixes that see it and themselves only.

Nothing outside these blocks is computed: the prefix attends to itself in pieces, each suffix to the prefix and to
itself, all suffixes in one matrix product. It equals attention under the block mask of the whole sequence.
"""

# mypy: allow-untyped-calls, no-warn-return-any
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PIECE = 128
"""queries of the prefix that are computed at once: what comes after a piece is not computed for it"""
WIDTH = 32
"""keys to a multiple of which a block is filled up: a softmax over other widths takes twice as long"""
HEIGHT = 8
"""queries to a multiple of which a suffix is filled up, so that few different sizes occur"""
NAME = "shared_prefix"
"""what `attn_implementation` calls it"""
Rotation = tuple[Tensor, Tensor]
"""cosines and sines of the positions' angles, (1, N, D)"""


@dataclass(frozen=True)
class Layout:
    """Where prefix and suffixes lie in a sequence of N = prefix + sum of the suffixes' lengths + fill, fill > 0.

    The fill belongs to no suffix: nothing sees it, no gradient comes from it, and missing places refer to it.
    """

    prefix: int
    """P tokens of the shared prefix; 0: none"""
    rows: int
    """R suffixes"""
    queries: Tensor
    """(R * L,): each suffix's tokens, L the longest suffix's length filled up"""
    keys: Tensor
    """(R * T,): the prefix's tokens and the suffix's, filled up"""
    back: Tensor
    """(S,): where each token of the suffixes lies in `queries`"""
    bias: Tensor
    """(L, T), added to the scores: minus infinity where the key comes later"""
    piece: Tensor
    """(PIECE, PIECE), the same for a piece of the prefix and the keys that begin with it"""

    @classmethod
    def of(cls, prefix: int, lengths: list[int], fill: int, dtype: torch.dtype) -> Layout:
        height, total = filled(max(lengths), HEIGHT), sum(lengths)
        width, nothing = filled(prefix + height, WIDTH), prefix + total + fill - 1
        queries = torch.full((len(lengths), height), nothing)
        keys = torch.full((len(lengths), width), nothing)
        keys[:, :prefix] = torch.arange(prefix)
        start = prefix
        for row, n in enumerate(lengths):
            queries[row, :n] = keys[row, prefix : prefix + n] = torch.arange(start, start + n)
            start += n
        back = (queries.flatten() != nothing).nonzero().squeeze(1)
        bias = _later(height, width, prefix + 1, dtype)
        return cls(prefix, len(lengths), queries.flatten(), keys.flatten(), back, bias, _later(PIECE, PIECE, 1, dtype))

    def pieces(self) -> Iterator[tuple[int, int, Tensor]]:
        """(first query, one past the last, bias) for each piece of the prefix; keys are 0 up to the bias's width."""
        for start in range(0, self.prefix, PIECE):
            end = min(start + PIECE, self.prefix)
            own = self.piece[: end - start, : end - start]
            yield start, end, torch.cat([own.new_zeros(end - start, start), own], dim=1)

    def to(self, where: torch.device) -> Layout:
        moved = (x.to(where) for x in (self.queries, self.keys, self.back, self.bias, self.piece))
        return Layout(self.prefix, self.rows, *moved)


def filled(count: int, to: int) -> int:
    """The multiple of `to` that is not below `count`."""
    return -(-count // to) * to


def _later(height: int, width: int, first: int, dtype: torch.dtype) -> Tensor:
    return torch.full((height, width), -torch.inf, dtype=dtype).triu(first)


_current: Layout | None = None


@contextmanager
def laid_out(layout: Layout | None) -> Iterator[None]:
    """The layout of the sequence that the model is given in this block; None: an ordinary batch."""
    global _current
    before, _current = _current, layout
    try:
        yield
    finally:
        _current = before


def current() -> Layout | None:
    return _current


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (1, H, N, D), key and value (1, KV, N, D) to (1, N, H, D)."""
    if _current is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    q, k, v = (x[0].transpose(0, 1) for x in (query.to(value.dtype), key.to(value.dtype), value))
    return by_blocks(q, k, v, None, _current, scale)[None], None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def by_blocks(
    query: Tensor, key: Tensor, value: Tensor, rotation: Rotation | None, layout: Layout, scale: float
) -> Tensor:
    """softmax(q k^T * scale) v by blocks; query (N, H, D), key and value (N, KV, D) to (N, H, D).

    With a rotation, queries and keys are turned by it first (Su et al. 2021).
    """
    return PrefixAttention.apply(query, key, value, rotation, layout, scale)


class PrefixAttention(torch.autograd.Function):
    """The backward pass is written out: it keeps the weights and what they were computed from, nothing else.

    Heads are grouped by the key-value head they read, so that a head's keys and values are never repeated.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rotation: Rotation | None, layout: Layout, scale: float
    ) -> Tensor:
        q, k, v = query, key, value
        if rotation:
            q, k = (_turned(x, *rotation) for x in (q, k))
        out = torch.zeros_like(q, memory_format=torch.contiguous_format)
        groups, saved = k.shape[1], []
        for start, end, bias in layout.pieces():
            end_of_keys = bias.shape[1]
            own = _by_group(q[start:end], groups), _by_head(k[:end_of_keys]), _by_head(v[:end_of_keys])
            done, weights = _attend(*own, bias, scale)
            out[start:end] = _by_token(done, end - start)
            saved += [*own, weights]
        parts = _query_rows(q, layout, groups), _key_rows(k, layout), _key_rows(v, layout)
        done, weights = _attend(*parts, layout.bias, scale)
        p = layout.prefix
        out[p : p + len(layout.back)] = _from_rows(done, layout, groups)
        ctx.layout, ctx.scale, ctx.rotation, ctx.shapes = layout, scale, rotation, (query.shape, key.shape)
        ctx.save_for_backward(*saved, *parts, weights)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        layout, saved = ctx.layout, list(ctx.saved_tensors)
        groups, p = ctx.shapes[1][1], layout.prefix
        d_q, d_k, d_v = (grad.new_zeros(shape) for shape in (*ctx.shapes, ctx.shapes[1]))
        q, k, v, weights = saved[-4:]
        rest = _attend_back(_query_rows(grad, layout, groups), q, k, v, weights, ctx.scale)
        d_q[p : p + len(layout.back)] = _from_rows(rest[0], layout, groups)
        for whole, part in zip((d_k, d_v), rest[1:], strict=True):
            rows = part.unflatten(0, (layout.rows, groups))
            height = layout.bias.shape[0]
            own = rows[:, :, p : p + height].transpose(1, 2).flatten(0, 1)
            whole[p : p + len(layout.back)] = own.index_select(0, layout.back)
            if p:
                whole[:p] = rows[:, :, :p].sum(0).transpose(0, 1)
        for place, (start, end, bias) in enumerate(layout.pieces()):
            q, k, v, weights = saved[4 * place : 4 * place + 4]
            piece = _attend_back(_by_group(grad[start:end], groups), q, k, v, weights, ctx.scale)
            d_q[start:end] = _by_token(piece[0], end - start)
            d_k[: bias.shape[1]] += piece[1].transpose(0, 1)
            d_v[: bias.shape[1]] += piece[2].transpose(0, 1)
        if ctx.rotation:
            cos, sin = ctx.rotation
            d_q, d_k = (_turned(x, cos, -sin) for x in (d_q, d_k))
        return d_q, d_k, d_v, None, None, None


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Q (B, G * L, D), k and v (B, T, D), bias (L, T) to (B, G * L, D), and the weights (B, G * L, T)."""
    hidden = bias.to(q.dtype).repeat(q.shape[1] // bias.shape[0], 1).expand(q.shape[0], -1, -1)
    weights = torch.baddbmm(hidden, q, k.mT, alpha=scale).softmax(-1)
    return weights @ v, weights


def _attend_back(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    d_scores = torch.ops.aten._softmax_backward_data(grad @ v.mT, weights, -1, weights.dtype)
    d_scores = d_scores.mul_(scale)
    return d_scores @ k, d_scores.mT @ q, weights.mT @ grad


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """X (N, H, D) with each pair (x_i, x_i+D/2) turned by its angle; cos and sin (1, N, D), the angles twice."""
    cos, sin, half = cos[0, :, None], sin[0, :, None], x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def _by_head(x: Tensor) -> Tensor:
    """(T, KV, D) to (KV, T, D)."""
    return x.transpose(0, 1)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(L, H, D) to (KV, G * L, D)."""
    return x.unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(1, 2)


def _by_token(x: Tensor, length: int) -> Tensor:
    """(KV, G * L, D) to (L, H, D)."""
    return x.unflatten(1, (-1, length)).flatten(0, 1).transpose(0, 1)


def _query_rows(x: Tensor, layout: Layout, groups: int) -> Tensor:
    """(N, H, D) to (R * KV, G * L, D)."""
    taken = x.index_select(0, layout.queries).unflatten(0, (layout.rows, -1)).unflatten(2, (groups, -1))
    return taken.permute(0, 2, 3, 1, 4).flatten(2, 3).flatten(0, 1)


def _key_rows(x: Tensor, layout: Layout) -> Tensor:
    """(N, KV, D) to (R * KV, T, D)."""
    return x.index_select(0, layout.keys).unflatten(0, (layout.rows, -1)).transpose(1, 2).flatten(0, 1)


def _from_rows(x: Tensor, layout: Layout, groups: int) -> Tensor:
    """(R * KV, G * L, D) to the suffixes' tokens, (S, H, D)."""
    by_token = x.view(layout.rows, groups, -1, layout.bias.shape[0], x.shape[-1]).permute(0, 3, 1, 2, 4)
    return by_token.flatten(2, 3).flatten(0, 1).index_select(0, layout.back)
