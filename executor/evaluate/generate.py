"""Greedy answers for many prompts at once: the prefix they share is computed once, rows that end make room."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from executor.evaluate.shared import Behind, behind, quick
from executor.train.batch import common_prefix
from executor.train.loss import out_of_memory

AGREES = "_answers_behind_a_prefix"
"""the attribute of a model that was looked at"""
MARGIN = 0.25
"""logits; below it, the order of sums in another batch shape can change the choice (bfloat16 keeps 8 bits): of 300
answers of tuned models 6 changed, 5 of them with a smaller lead than this"""
MAX_BATCH_TOKENS = 16_384
"""keys and values held at once beside the prefix, prompts and answers together"""
AT_ONCE = 32
"""rows of like length whose prompts are computed together; their answers are written in larger batches"""
ENDED = 1 / 3
"""share of rows that ended, from which on it pays to go on without them"""
WIDER = 2
"""of two rows in a batch, the longer one is at most so many times as long, and SPARE tokens: the rest is filled up"""
SPARE = 24


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
    answers: dict[int, Answer] = {}
    with quick(model) if agrees(model) else nullcontext(False) as quickly:
        decoder = (Quick if quickly else Plain)(model, prompts[0][:prefix], end_ids, max_new_tokens)
        held = 0 if quickly else prefix
        size = batch_size
        while left := [place for place in range(len(prompts)) if place not in answers]:
            try:
                lengths = [len(prompts[place]) - prefix for place in left]
                for chosen in batches(lengths, held + max_new_tokens, size):
                    rows = [left[place] for place in chosen]
                    done = decoder.decode([prompts[row][prefix:] for row in rows])
                    answers |= dict(zip(rows, done, strict=True))
                    report(len(answers))
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not out_of_memory(error):
                    raise
                size = max(1, min(size, len(left)) // 2)
    return [answers[i] for i in range(len(prompts))]


@torch.no_grad()
def agrees(model: Any) -> bool:
    """Whether the quick way gives this model's own logits on a prefix and two rows; found out once for each model."""
    known = model.__dict__.get(AGREES)
    if known is None:
        known = _agrees(model)
        setattr(model, AGREES, known)
    return bool(known)


def _agrees(model: Any) -> bool:
    prefix, rows, more = [1, 2, 3, 4, 5], [[6, 7, 8], [9, 3]], torch.tensor([4, 7], device=model.device)
    found = []
    try:
        with quick(model) as quickly:
            if not quickly:
                return False
            decoder: Decoder = Quick(model, prefix, set(), 1)
            found.append([decoder.begin(rows), decoder.step(more)])
    except (AttributeError, RuntimeError, TypeError):
        return False
    decoder = Plain(model, prefix, set(), 1)
    found.append([decoder.begin(rows), decoder.step(more)])
    return all(
        torch.allclose(ours.float(), own.float(), rtol=5e-2, atol=5e-2 * float(own.abs().max()))
        for ours, own in zip(*found, strict=True)
    )


def batches(lengths: Sequence[int], more: int, most: int) -> Iterator[list[int]]:
    """Places of rows of like length, at most `most` at once, fewer where they and `more` tokens each take much."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    start = 0
    while start < len(order):
        longest = WIDER * lengths[order[start]] + SPARE
        end = start + 1
        while end < len(order) and end - start < most:
            if lengths[order[end]] > longest:
                break
            if (end + 1 - start) * (lengths[order[end]] + more) > MAX_BATCH_TOKENS:
                break
            end += 1
        yield order[start:end]
        start = end


class Decoder:
    """Answers to suffixes behind one prefix."""

    def __init__(self, model: Any, prefix: Sequence[int], end_ids: set[int], max_new_tokens: int) -> None:
        self.model, self.end_ids, self.most = model, end_ids, max_new_tokens
        self.prefix = torch.tensor([list(prefix)], device=model.device, dtype=torch.long)

    def decode(self, suffixes: Sequence[Sequence[int]]) -> list[Answer]:
        """Token by token, until every row ended."""
        written: list[list[int]] = [[] for _ in suffixes]
        margins = [float("inf")] * len(suffixes)
        rows = list(range(len(suffixes)))
        logits = self.begin(suffixes)
        for number in range(1, self.most + 1):
            tokens, leads = best(logits)
            running = []
            for place, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
                if row < 0:
                    continue
                margins[row] = min(margins[row], float(leads[place]))
                if token in self.end_ids:
                    rows[place] = -1
                else:
                    written[row].append(token)
                    running.append(place)
            if not running or number == self.most:
                break
            if self.drops and len(running) <= (1 - ENDED) * len(rows):
                kept = torch.tensor(running, device=tokens.device)
                tokens, rows = tokens[kept], [rows[place] for place in running]
                self.drop(kept)
            logits = self.step(tokens)
        return [Answer(tuple(ids), margin) for ids, margin in zip(written, margins, strict=True)]

    drops = False
    """whether rows that ended can be left out"""

    def begin(self, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """The logits (R, V) after the suffixes."""
        raise NotImplementedError

    def step(self, tokens: Tensor) -> Tensor:
        """The logits (R, V) after one token more of each row."""
        raise NotImplementedError

    def drop(self, kept: Tensor) -> None:
        raise NotImplementedError


def best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of logits (R, V) the highest's place (R,), on a tie the lowest as stock generation has it; and its lead (R,)."""
    top, places = logits.topk(2, dim=-1)
    leads = (top[:, 0].float() - top[:, 1].float()).cpu()
    tokens = places[:, 0].clone()
    tied = (leads == 0).nonzero().squeeze(1).to(tokens.device)
    if len(tied):
        tokens[tied] = logits[tied].argmax(dim=-1)
    return tokens, leads


class Quick(Decoder):
    """For plain attention: the prefix's keys and values are held once for all rows."""

    drops = True

    def __init__(self, model: Any, prefix: Sequence[int], end_ids: set[int], max_new_tokens: int) -> None:
        super().__init__(model, prefix, end_ids, max_new_tokens)
        self.shared = Behind()
        if len(prefix):
            with behind(self.shared):
                model(input_ids=self.prefix, use_cache=False, logits_to_keep=1)

    def begin(self, suffixes: Sequence[Sequence[int]]) -> Tensor:
        self.rows = self.shared.rows(filled_up(suffixes)[1].to(self.model.device), self.most)
        logits, ends = [], []
        for first in range(0, len(suffixes), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            ids, absent = (each.to(self.model.device) for each in filled_up(suffixes[some]))
            positions = (self.prefix.shape[1] - 1 + (~absent).cumsum(1)).clamp(min=0)
            with behind(self.rows.part(some, ids.shape[1])):
                out = self.model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1)
            logits.append(out.logits[:, -1])
            ends.append(positions[:, -1:] + 1)
        self.next = torch.cat(ends)
        return torch.cat(logits)

    def step(self, tokens: Tensor) -> Tensor:
        self.rows.step()
        with behind(self.rows):
            out = self.model(input_ids=tokens[:, None], position_ids=self.next, use_cache=False, logits_to_keep=1)
        self.next = self.next + 1
        logits: Tensor = out.logits[:, -1]
        return logits

    def drop(self, kept: Tensor) -> None:
        self.rows.keep(kept)
        self.next = self.next[kept]


class Plain(Decoder):
    """For any model of transformers: rows are filled up on the left behind copies of the prefix."""

    def __init__(self, model: Any, prefix: Sequence[int], end_ids: set[int], max_new_tokens: int) -> None:
        super().__init__(model, prefix, end_ids, max_new_tokens)
        self.shared = DynamicCache()
        if len(prefix):
            model(input_ids=self.prefix, use_cache=True, past_key_values=self.shared, logits_to_keep=1)

    def begin(self, suffixes: Sequence[Sequence[int]]) -> Tensor:
        prefix, (ids, absent) = self.prefix.shape[1], filled_up(suffixes)
        self.mask = torch.cat([torch.ones(len(ids), prefix, dtype=torch.long), (~absent).long()], dim=1)
        self.mask = self.mask.to(self.model.device)
        self.cache = copy.deepcopy(self.shared)
        if prefix:
            self.cache.batch_repeat_interleave(len(ids))
        self.positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, prefix:]
        return self.forward(ids.to(self.model.device))

    def forward(self, ids: Tensor) -> Tensor:
        where = {"attention_mask": self.mask, "position_ids": self.positions}
        out = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1, **where)
        logits: Tensor = out.logits[:, -1]
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.positions = self.positions[:, -1:] + 1
        return self.forward(tokens[:, None])


def filled_up(suffixes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (R, W), filled up on the left, and where a row has no token."""
    width = max(len(suffix) for suffix in suffixes)
    ids, absent = torch.zeros(len(suffixes), width, dtype=torch.long), torch.ones(len(suffixes), width).bool()
    for row, suffix in enumerate(suffixes):
        ids[row, width - len(suffix) :] = torch.tensor(list(suffix))
        absent[row, width - len(suffix) :] = False
    return ids, absent


@torch.no_grad()
def settle(
    model: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Answer],
    end_ids: set[int],
    max_new_tokens: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Answer again, one by one as plain `generate` computes them, every prompt whose answer was a near tie.

    After this the answers are those that anyone gets who loads the adapter with peft and transformers, but for a rare
    one with a larger lead than MARGIN.
    """
    settled = list(answers)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if answer.margin < MARGIN:
            settled[row] = Plain(model, (), end_ids, max_new_tokens).decode([prompt])[0]
        report(row + 1)
    return settled
