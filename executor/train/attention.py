"""Attention over a batch that is one sequence: a shared prefix, then suffixes that see it and themselves only.

In long sequences nothing outside the blocks is computed: the prefix attends to itself, each suffix to the prefix and to
itself, in two matrix products for all suffixes together. In short ones the whole square of weights under the mask is
cheaper, for it takes fewer operations. Both equal attention under the block mask of the whole sequence.
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

DENSE = 512
"""tokens of a sequence up to which its whole square of weights is computed"""
NAME = "shared_prefix"
"""what `attn_implementation` calls it"""


@dataclass(frozen=True)
class Layout:
    """Where prefix and suffixes lie in a sequence of N = prefix + sum of the suffixes' lengths."""

    prefix: int
    """tokens of the shared prefix; 0: none"""
    place: Tensor
    """(R, L): position behind the prefix of token l of suffix r; one past the last where the suffix is shorter"""
    back: Tensor
    """(N - prefix,): where each token lies in `place`, flattened"""
    hidden: Tensor | None
    """(N, N) for short sequences: which tokens a token does not see; few large products then beat many small ones"""
    later: Tensor
    """(M, M), M the longer of prefix and longest suffix: above the diagonal"""

    @classmethod
    def of(cls, prefix: int, lengths: list[int]) -> Layout:
        longest, total = max(lengths), sum(lengths)
        place = torch.full((len(lengths), longest), total)
        back = torch.empty(total, dtype=torch.long)
        start = 0
        for row, n in enumerate(lengths):
            place[row, :n] = torch.arange(start, start + n)
            back[start : start + n] = torch.arange(row * longest, row * longest + n)
            start += n
        largest = max(prefix, longest)
        later = torch.ones(largest, largest, dtype=torch.bool).triu(1)
        return cls(prefix, place, back, _hidden(prefix, lengths) if prefix + total <= DENSE else None, later)


def _hidden(prefix: int, lengths: list[int]) -> Tensor:
    owner = torch.tensor([0] * prefix + [row for row, n in enumerate(lengths, start=1) for _ in range(n)])
    order = torch.arange(len(owner))
    return ((owner[None] != 0) & (owner[:, None] != owner[None])) | (order[:, None] < order[None])


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


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' attention interface: query (1, H, N, D), key and value (1, KV, N, D) to (1, N, H, D)."""
    if _current is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    query, key = query.to(value.dtype), key.to(value.dtype)
    function = PrefixAttention if _current.hidden is None else MaskedAttention
    out = function.apply(query, key, value, _current, scale)
    return out, None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


class MaskedAttention(torch.autograd.Function):
    """softmax(q k^T * scale) v under the layout's mask. Heads are grouped by the key-value head they read."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        n, shape = query.shape[2], (key.shape[1], -1)
        q = (query[0] * scale).unflatten(0, shape).flatten(1, 2)
        scores = q @ key[0].mT
        scores.unflatten(1, (-1, n)).masked_fill_(layout.hidden, -torch.inf)
        weights = scores.softmax(-1)
        out = (weights @ value[0]).unflatten(1, (-1, n))
        ctx.scale = scale
        ctx.save_for_backward(q, key, value, weights)
        return out.flatten(0, 1).transpose(0, 1)[None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, key, value, weights = ctx.saved_tensors
        n, groups = key.shape[2], key.shape[1]
        g = grad[0].transpose(0, 1).unflatten(0, (groups, -1)).flatten(1, 2)
        d_scores = torch.ops.aten._softmax_backward_data(g @ value[0].mT, weights, -1, weights.dtype)
        d_query = (d_scores @ key[0]).mul_(ctx.scale).unflatten(1, (-1, n)).flatten(0, 1)
        return d_query[None], (d_scores.mT @ q)[None], (weights.mT @ g)[None], None, None


class PrefixAttention(torch.autograd.Function):
    """softmax(q k^T * scale) v by blocks, with the backward pass written out.

    Heads are grouped by the key-value head they read, so that keys and values are never repeated.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        heads, groups = query.shape[1], key.shape[1]
        p = layout.prefix
        q, k, v = (query[0] * scale).unflatten(0, (groups, heads // groups)), key[0], value[0]
        out = torch.empty(query.shape[2], heads, query.shape[3], dtype=query.dtype, device=query.device)
        saved: list[Tensor] = []
        if p:
            first, weights = _causal(q[:, :, :p].flatten(1, 2), k[:, :p], v[:, :p], layout)
            out[:p] = _ungrouped(first, p)
            saved.append(weights)
        q_rows, k_rows, v_rows = (_rows(x[..., p:, :], layout) for x in (q, k, v))
        rest, weights = _suffixes(q_rows, k_rows, v_rows, k[:, :p], v[:, :p], layout)
        out[p:] = _ungrouped_rows(rest, layout)
        ctx.layout, ctx.scale, ctx.saved = layout, scale, saved
        ctx.save_for_backward(query, key, value, out, weights, *saved)
        return out[None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, out, weights, *first = ctx.saved_tensors
        layout, heads, groups = ctx.layout, query.shape[1], key.shape[1]
        p, shape = layout.prefix, (groups, heads // groups)
        q, k, v = (query[0] * ctx.scale).unflatten(0, shape), key[0], value[0]
        by_head, done = (x.transpose(0, 1).unflatten(0, shape) for x in (grad[0], out))
        # each weight's share of its row's gradient: sum of grad * out over the features of the row
        wide = torch.promote_types(grad.dtype, torch.float32)
        total = (by_head.to(wide) * done.to(wide)).sum(-1, keepdim=True).to(grad.dtype)
        d_query, d_key, d_value = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        q_rows, k_rows, v_rows, g_rows, t_rows = (
            _rows(x[..., p:, :], layout) for x in (q, k, v, by_head, total)
        )  # q, grad, total: (KV, R, G * L, D or 1); k, v: (KV, R, L, D)
        shared, own = weights[..., :p], weights[..., p:]
        d_own = own * (g_rows @ v_rows.mT - t_rows)
        d_rows = d_own @ k_rows
        if p:
            flat_g, flat_q = g_rows.flatten(1, 2), q_rows.flatten(1, 2)
            d_shared = shared * ((flat_g @ v[:, :p].mT).view_as(shared) - t_rows)
            d_rows = d_rows + (d_shared.flatten(1, 2) @ k[:, :p]).view_as(d_rows)
            d_key[:, :p] = d_shared.flatten(1, 2).mT @ flat_q
            d_value[:, :p] = shared.flatten(1, 2).mT @ flat_g
            qp, gp, tp = (x[:, :, :p].flatten(1, 2) for x in (q, by_head, total))
            d_first = first[0] * (gp @ v[:, :p].mT - tp)
            d_query[:, :, :p] = (d_first @ k[:, :p]).unflatten(1, (shape[1], p))
            d_key[:, :p] += d_first.mT @ qp
            d_value[:, :p] += first[0].mT @ gp
        d_query[:, :, p:] = _flat(d_rows.unflatten(2, (shape[1], -1)).transpose(1, 2), layout)
        d_key[:, p:] = _flat((d_own.mT @ q_rows)[:, None], layout)[:, 0]
        d_value[:, p:] = _flat((own.mT @ g_rows)[:, None], layout)[:, 0]
        return (d_query * ctx.scale).flatten(0, 1)[None], d_key[None], d_value[None], None, None


def _causal(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Attention of the prefix to itself; q (KV, G * P, D), k and v (KV, P, D). The weights too."""
    p = k.shape[1]
    scores = q @ k.mT
    scores.unflatten(1, (-1, p)).masked_fill_(layout.later[:p, :p], -torch.inf)
    weights = scores.softmax(-1)
    return weights @ v, weights


def _suffixes(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    """Q (KV, R, G * L, D), k and v (KV, R, L, D), the prefix's (KV, P, D); weights (KV, R, G * L, P + L)."""
    length, p = k.shape[2], prefix_k.shape[1]
    scores = q.new_empty(*q.shape[:3], p + length)
    own = q @ k.mT
    own.unflatten(2, (-1, length)).masked_fill_(layout.later[:length, :length], -torch.inf)
    scores[..., p:] = own
    if p:
        scores[..., :p] = (q.flatten(1, 2) @ prefix_k.mT).view(*q.shape[:3], p)
    weights = scores.softmax(-1)
    out = weights[..., p:] @ v
    if p:
        out = out + (weights[..., :p].flatten(1, 2) @ prefix_v).view_as(out)
    return out, weights


def _rows(x: Tensor, layout: Layout) -> Tensor:
    """(KV, [G,] S, D) of all suffixes one after another, to (KV, R, [G *] L, D); zeros where one is shorter."""
    rows, length = layout.place.shape
    padded = torch.cat([x, x.new_zeros(*x.shape[:-2], 1, x.shape[-1])], dim=-2)
    taken = padded.index_select(-2, layout.place.flatten()).unflatten(-2, (rows, length))
    return taken if x.dim() == 3 else taken.transpose(1, 2).flatten(2, 3)


def _flat(x: Tensor, layout: Layout) -> Tensor:
    """(KV, G, R, L, D) back to (KV, G, S, D)."""
    return x.flatten(2, 3).index_select(2, layout.back)


def _ungrouped(x: Tensor, length: int) -> Tensor:
    """(KV, G * length, D) to (length, H, D)."""
    return x.unflatten(1, (-1, length)).flatten(0, 1).transpose(0, 1)


def _ungrouped_rows(x: Tensor, layout: Layout) -> Tensor:
    """(KV, R, G * L, D) to (S, H, D)."""
    grouped = x.unflatten(2, (-1, layout.place.shape[1])).transpose(1, 2)
    return _flat(grouped, layout).flatten(0, 1).transpose(0, 1)
