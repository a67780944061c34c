"""Greedy answers for many prompts at once: the prefix they share is computed once, the rest in batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from executor.train.batch import common_prefix

MARGIN = 0.5
"""logits; below it, the order of sums in another batch shape can change the choice (bfloat16 keeps 8 bits)"""

MAX_BATCH_TOKENS = 16_384
"""keys and values held at once, prompts and answers together; long prompts go in smaller batches"""


@dataclass(frozen=True)
class Answer:
    """Generated ids without the end-of-turn token, and the smallest lead of a chosen token over the next best."""

    ids: tuple[int, ...]
    margin: float


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    end_ids: set[int],
    max_new_tokens: int,
    batch_size: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Greedy decoding of every prompt, in the order given. `report` is told how many are done."""
    prefix = min(common_prefix(prompts), min(len(p) for p in prompts) - 1) if len(prompts) > 1 else 0
    cache = prefix_cache(model, prompts[0][:prefix]) if prefix else None
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, Answer] = {}
    while len(answers) < len(order):
        width = len(prompts[order[min(len(answers) + batch_size, len(order)) - 1]]) + max_new_tokens
        size = max(1, min(batch_size, MAX_BATCH_TOKENS // width))
        chosen = order[len(answers) : len(answers) + size]
        suffixes = [prompts[i][prefix:] for i in chosen]
        done = decode(model, suffixes, prefix, copy.deepcopy(cache), end_ids, max_new_tokens)
        answers |= dict(zip(chosen, done, strict=True))
        report(len(answers))
    return [answers[i] for i in range(len(prompts))]


def prefix_cache(model: Any, ids: Sequence[int]) -> DynamicCache:
    """Keys and values of the common prefix, batch size 1."""
    inputs = torch.tensor([list(ids)], device=model.device)
    return model(input_ids=inputs, use_cache=True, past_key_values=DynamicCache(), logits_to_keep=1).past_key_values


def decode(
    model: Any,
    suffixes: Sequence[Sequence[int]],
    prefix: int,
    cache: DynamicCache | None,
    end_ids: set[int],
    max_new_tokens: int,
) -> list[Answer]:
    """One batch, padded on the left behind the cached prefix."""
    count, width = len(suffixes), max(len(s) for s in suffixes)
    ids = torch.zeros(count, width, dtype=torch.long)
    mask = torch.ones(count, prefix + width, dtype=torch.long)
    for row, suffix in enumerate(suffixes):
        ids[row, width - len(suffix) :] = torch.tensor(list(suffix))
        mask[row, prefix : prefix + width - len(suffix)] = 0
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, prefix:]
    if cache is None:
        cache = DynamicCache()
    else:
        cache.batch_repeat_interleave(count)
    written: list[list[int]] = [[] for _ in suffixes]
    margins = torch.full((count,), float("inf"))
    running = [True] * count
    for _ in range(max_new_tokens):
        where = {"attention_mask": mask, "position_ids": positions}
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **where)
        logits = out.logits[:, -1].float()
        top = logits.topk(2, dim=-1).values
        lead = (top[:, 0] - top[:, 1]).cpu()
        chosen = logits.argmax(dim=-1)  # not topk's first: on a tie stock generation takes the lowest id
        for row, token in enumerate(chosen.tolist()):
            if running[row]:
                margins[row] = torch.minimum(margins[row], lead[row])
                running[row] = token not in end_ids
                if running[row]:
                    written[row].append(token)
        if not any(running):
            break
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(count, 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [Answer(tuple(w), float(m)) for w, m in zip(written, margins, strict=True)]


def settle(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Answer],
    end_ids: set[int],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Answer again, one by one as plain `generate` computes them, every prompt whose answer was a near tie.

    After this the answers are those that anyone gets who loads the adapter with peft and transformers.
    """
    settled = list(answers)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if answer.margin < MARGIN:
            settled[row] = generate(model, [prompt], end_ids, max_new_tokens, 1)[0]
        report(row + 1)
    return settled
