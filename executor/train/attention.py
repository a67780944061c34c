"""Attention over a batch that is one sequence: a shared prefix, then suffixes that see it and themselves only.

Nothing outside these blocks is computed: the prefix attends to itself in pieces, each suffix to the prefix and to
itself, all suffixes in one matrix product. It equals attention under the block mask of the whole sequence.
"""

# mypy: allow-untyped-calls, no-warn-return-any
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    _places: dict[tuple[int, int], Places] = field(default_factory=dict, repr=False, compare=False)

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

    def places(self, heads: int, groups: int) -> Places:
        """For H query heads and KV key-value heads; made once, for all layers."""
        if (heads, groups) not in self._places:
            self._places[heads, groups] = Places.of(self, heads, groups)
        return self._places[heads, groups]

    def pieces(self) -> Iterator[tuple[int, int, Tensor]]:
        """(first query, one past the last, bias) for each piece of the prefix; keys are 0 up to the bias's width."""
        for start in range(0, self.prefix, PIECE):
            end = min(start + PIECE, self.prefix)
            own = self.piece[: end - start, : end - start]
            yield start, end, torch.cat([own.new_zeros(end - start, start), own], dim=1)

    def to(self, where: torch.device) -> Layout:
        return Layout(
            self.prefix, self.rows, self.queries.to(where), self.keys.to(where), self.back.to(where),
            self.bias.to(where), self.piece.to(where),
        )  # fmt: skip


@dataclass(frozen=True)
class Places:
    """What each row of the suffixes' blocks is read from, in tensors (N, heads, D) seen as (N * heads, D); and back.

    The blocks are queries (R * KV, G * L, D), keys and values (R * KV, T, D), their rows one after another.
    """

    queries: Tensor
    """of (N, H, D)"""
    both: Tensor
    """queries, then keys, of (N, H + KV, D)"""
    values: Tensor
    """of (N, KV, D)"""
    to_queries: Tensor
    """(S * H,): the suffixes' tokens, head by head, among the rows of the queries"""
    to_both: Tensor
    """(S * (H + KV),): among the rows of the queries and keys"""
    to_values: Tensor
    """(S * KV,): among those of the values"""
    bias: Tensor
    """(G * L, T)"""

    @classmethod
    def of(cls, layout: Layout, heads: int, groups: int) -> Places:
        rows, height, width = layout.rows, *layout.bias.shape
        head = torch.arange(heads, device=layout.queries.device)
        group = head[:groups]
        tokens, seen = layout.queries.view(rows, 1, height), layout.keys.view(rows, 1, width)
        row, place = layout.back.div(height, rounding_mode="floor")[:, None], (layout.back % height)[:, None]
        queries = (row * heads + head) * height + place
        keys = (row * groups + group) * width + layout.prefix + place
        first = rows * heads * height  # rows of queries, before those of keys
        of_both = [tokens * (heads + groups) + head[:, None], seen * (heads + groups) + heads + group[:, None]]
        return cls(
            (tokens * heads + head[:, None]).flatten(),
            torch.cat([each.flatten() for each in of_both]),
            (seen * groups + group[:, None]).flatten(),
            queries.flatten(),
            torch.cat([queries, first + keys], dim=1).flatten(),
            keys.flatten(),
            layout.bias.repeat(heads // groups, 1),
        )


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
        heads, width = query.shape[1:]
        groups, p = key.shape[1], layout.prefix
        places, value = layout.places(heads, groups), value.contiguous()
        both = torch.cat([query, key], dim=1)
        both = _turned(both, rotation) if rotation else both
        out, saved = torch.zeros_like(both[:, :heads], memory_format=torch.contiguous_format), []
        for start, end, bias in layout.pieces():
            seen = both[: bias.shape[1], heads:], value[: bias.shape[1]]
            own = _by_group(both[start:end, :heads], groups), *(x.transpose(0, 1) for x in seen)
            done, weights = _attend(own, bias.repeat(heads // groups, 1), scale)
            out[start:end] = _by_token(done, end - start)
            saved += [*own, weights]
        of_both, size = _rows(both, places.both), layout.rows * heads * layout.bias.shape[0]
        blocks = of_both[:size], of_both[size:], _rows(value, places.values)
        parts = [x.view(layout.rows * groups, -1, width) for x in blocks]
        done, weights = _attend(parts, places.bias, scale)
        out[p : p + len(layout.back)] = _rows(done, places.to_queries).view(-1, heads, width)
        ctx.layout, ctx.scale, ctx.rotation, ctx.shapes = layout, scale, rotation, (both.shape, value.shape)
        ctx.save_for_backward(*saved, *parts, weights)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        layout, saved = ctx.layout, list(ctx.saved_tensors)
        groups, width = ctx.shapes[1][1:]
        heads, p = ctx.shapes[0][1] - groups, layout.prefix
        places, suffixes = layout.places(heads, groups), slice(p, p + len(layout.back))
        d_both, d_value = (grad.new_zeros(shape) for shape in ctx.shapes)
        q, k, v, weights = saved[-4:]
        rows = grad.new_empty(q.numel() + k.numel()), grad.new_empty(v.numel())
        into = rows[0][: q.numel()].view_as(q), rows[0][q.numel() :].view_as(k), rows[1].view_as(v)
        _attend_back(_rows(grad.contiguous(), places.queries).view_as(q), q, k, v, weights, ctx.scale, into)
        d_both[suffixes] = _rows(rows[0].view(-1, width), places.to_both).view(-1, heads + groups, width)
        d_value[suffixes] = _rows(rows[1].view(-1, width), places.to_values).view(-1, groups, width)
        if p:
            for whole, part in ((d_both[:p, heads:], into[1]), (d_value[:p], into[2])):
                whole.copy_(part.unflatten(0, (layout.rows, groups))[:, :, :p].sum(0).transpose(0, 1))
        for place, (start, end, bias) in enumerate(layout.pieces()):
            q, k, v, weights = saved[4 * place : 4 * place + 4]
            piece = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            _attend_back(_by_group(grad[start:end], groups), q, k, v, weights, ctx.scale, piece)
            d_both[start:end, :heads] = _by_token(piece[0], end - start)
            d_both[: bias.shape[1], heads:] += piece[1].transpose(0, 1)
            d_value[: bias.shape[1]] += piece[2].transpose(0, 1)
        if ctx.rotation:
            d_both = _turned(d_both, ctx.rotation, back=True)
        return d_both[:, :heads], d_both[:, heads:], d_value, None, None, None


def _attend(parts: Sequence[Tensor], bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Of q (B, G * L, D), k and v (B, T, D), bias (G * L, T) to (B, G * L, D), and the weights (B, G * L, T)."""
    q, k, v = parts
    weights = torch.baddbmm(bias.to(q.dtype).expand(len(q), -1, -1), q, k.mT, alpha=scale).softmax(-1)
    return weights @ v, weights


def _attend_back(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, scale: float, into: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Write the gradients of q, k and v."""
    d_scores = torch.ops.aten._softmax_backward_data(grad @ v.mT, weights, -1, weights.dtype)
    d_scores = d_scores.mul_(scale)
    torch.bmm(d_scores, k, out=into[0])
    torch.bmm(d_scores.mT, q, out=into[1])
    torch.bmm(weights.mT, grad, out=into[2])


def _rows(x: Tensor, places: Tensor) -> Tensor:
    """Those rows of x (..., D), seen as (-1, D)."""
    return x.view(-1, x.shape[-1]).index_select(0, places)


def _turned(x: Tensor, rotation: Rotation, back: bool = False) -> Tensor:
    """X (N, H, D) with each pair (x_i, x_i+D/2) turned by its angle, or back; the rotation holds the angles twice."""
    (cos, sin), half = rotation, x.shape[-1] // 2
    sign = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
    other = torch.cat([x[..., half:], x[..., :half]], dim=-1)
    return (x * cos[0, :, None]).addcmul_(other, sign[0, :, None], value=-1 if back else 1)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(L, H, D) to (KV, G * L, D)."""
    return x.unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(1, 2)


def _by_token(x: Tensor, length: int) -> Tensor:
    """(KV, G * L, D) to (L, H, D)."""
    return x.unflatten(1, (-1, length)).flatten(0, 1).transpose(0, 1)
