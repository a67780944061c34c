"""Batches: padded, or with the prompt prefix they share computed once.

With a shared prefix the batch is one sequence `prefix suffix_1 ... suffix_n`: positions restart after the prefix
and every suffix sees the prefix and itself only, by a block mask or by computing those blocks alone. Loss and gradients
equal the padded batch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from executor.encode import Example
from executor.train.attention import Layout

IGNORE = -100
MIN_PREFIX = 16
MAX_FLAT = 4096
"""tokens; the block mask is quadratic, so longer batches are padded instead"""


BUCKET = 32
"""tokens to a multiple of which a sequence of blocks is filled up"""
LEAST_STEP = 16
"""tokens between the lengths that are rounded up to, at least"""
MAX_BLOCKS = 1 << 21
"""attention weights of one head held at once; beyond it, attention that never holds them is used"""


@dataclass(frozen=True)
class Batch:
    """Model inputs and targets. `targets[b, t]` is the token to predict at position t, or IGNORE."""

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    tokens: int
    """real tokens of the examples as given, padding never, the shared prefix once for each example"""
    owners: torch.Tensor
    """`owners[b, t]` is the number of the example that the target belongs to; 0 where there is none"""
    layout: Layout | None = None
    """where the examples lie in one sequence behind their prefix; the model's attention then needs no mask"""


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the longest prefix that all sequences share."""
    # What the first and the last in lexicographic order share, all share.
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def make_batch(
    examples: Sequence[Example], share_prefix: bool, dtype: torch.dtype, blocks: bool = False, rounded: bool = False
) -> Batch:
    """The cheapest exact layout of these examples; every prompt keeps at least one token of its own.

    `blocks`: the model's attention computes by blocks (`executor.train.attention`), so a batch without a prefix can
    be one sequence too, and needs no mask. `rounded`: lengths are filled up to few different ones.
    """
    prefix = min(common_prefix([e.ids for e in examples]), min(e.prompt_length for e in examples) - 1)
    prefix = prefix if prefix >= MIN_PREFIX and len(examples) > 1 else 0
    flat = prefix + sum(len(e.ids) - prefix for e in examples)
    padded = len(examples) * max(len(e.ids) for e in examples)
    if share_prefix and blocks and block_weights(examples, prefix) <= MAX_BLOCKS:
        return shared(examples, prefix, dtype, blocks)
    if share_prefix and prefix and flat <= MAX_FLAT and flat < 0.9 * padded:
        return shared(examples, prefix, dtype, rounded=rounded)
    return pad(examples, rounded)


def round_up(length: int) -> int:
    """The next of four lengths between a power of two and the next one: at most a quarter more."""
    step = max(LEAST_STEP, 1 << max(0, length.bit_length() - 3))
    return -(-length // step) * step


def block_weights(examples: Sequence[Example], prefix: int) -> int:
    """Attention weights of one head: of the prefix to itself, of every suffix to the prefix and to itself."""
    longest = max(len(e.ids) for e in examples) - prefix
    return prefix**2 + len(examples) * longest * (prefix + longest)


def pad(examples: Sequence[Example], rounded: bool = False) -> Batch:
    """One row an example, padded on the right; ids (B, T)."""
    longest = max(len(e.ids) for e in examples)
    length = round_up(longest) if rounded else longest
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    mask = torch.zeros(len(examples), length, dtype=torch.long)
    targets = torch.full((len(examples), length), IGNORE)
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n] = torch.tensor(example.ids)
        mask[row, :n] = 1
        targets[row, : n - 1] = next_tokens(example, 0)
    owners = torch.arange(len(examples))[:, None].expand_as(ids)
    return Batch({"input_ids": ids, "attention_mask": mask}, targets, sum(len(e.ids) for e in examples), owners)


def shared(
    examples: Sequence[Example], prefix: int, dtype: torch.dtype, blocks: bool = False, rounded: bool = False
) -> Batch:
    """All examples in one row behind their common prefix; ids (1, N), mask (1, 1, N, N) added to the scores.

    With `blocks` a layout stands in for the mask.
    """
    ids = list(examples[0].ids[:prefix])
    positions = list(range(prefix))
    segment = [0] * prefix
    targets = [torch.full((prefix,), IGNORE)]
    for number, example in enumerate(examples, start=1):
        n = len(example.ids) - prefix
        ids += example.ids[prefix:]
        positions += range(prefix, prefix + n)
        segment += [number] * n
        targets += [next_tokens(example, prefix), torch.tensor([IGNORE])]
    fill = BUCKET - len(ids) % BUCKET if blocks else round_up(len(ids)) - len(ids) if rounded else 0
    if fill:
        # tokens of nothing, so that few different lengths occur: each one has code or matrix products prepared for it
        ids += [0] * fill
        positions += [prefix] * fill
        segment += [-1] * fill
        targets.append(torch.full((fill,), IGNORE))
    inputs = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    layout = Layout.of(prefix, [len(e.ids) - prefix for e in examples], fill, dtype) if blocks else None
    # transformers leaves a mask of four dimensions as it is; where there is a layout, nobody reads it
    inputs["attention_mask"] = torch.zeros(1, 1, 1, 1, dtype=dtype) if blocks else block_mask(segment, dtype)
    owners = (torch.tensor(segment) - 1).clamp(min=0)[None]
    return Batch(inputs, torch.cat(targets)[None], sum(len(e.ids) for e in examples), owners, layout)


def block_mask(segment: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """(1, 1, N, N), added to the scores: a token sees what stands before it in segment 0 and in its own."""
    block = torch.tensor(segment)
    same = (block[None, :] == 0) | (block[:, None] == block[None, :])
    order = torch.arange(len(segment))
    allowed = same & (order[:, None] >= order[None, :])
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[None, None]


def next_tokens(example: Example, start: int) -> torch.Tensor:
    """Targets of positions start .. end-1: the next id where it is trained, else IGNORE."""
    ids = torch.tensor(example.ids[start + 1 :])
    trained = torch.tensor(example.trained[start + 1 :], dtype=torch.bool)
    return torch.where(trained, ids, torch.tensor(IGNORE))
