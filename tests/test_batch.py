"""Batches: computing a shared prefix once changes nothing, and every row is seen once an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import chat_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.encode import Example, encode_all
from executor.spec import LoraSpec, TrainSpec
from executor.template import ChatTemplate
from executor.train.batch import IGNORE, Batch, common_prefix, make_batch, pad
from executor.train.loss import batch_loss
from executor.train.model import add_lora, trainable

IDS = st.lists(st.integers(0, 3), min_size=2, max_size=40)


@pytest.fixture
def rows(tiny_model: Path) -> list[Example]:
    return encode_all(chat_rows(8), ChatTemplate(tiny_model), 512, "train")


def both_layouts(rows: list[Example]) -> tuple[Batch, Batch]:
    return make_batch(rows, True, torch.float32), make_batch(rows, False, torch.float32)


def loss_and_gradients(model: Any, batch: Batch) -> tuple[float, int, list[torch.Tensor]]:
    total = batch_loss(model, batch, TrainSpec(steps=1))
    gradients = torch.autograd.grad(total, trainable(model))
    return total.item(), int((batch.targets != IGNORE).sum()), list(gradients)


def test_loss_and_gradients_equal_those_of_the_padded_batch(rows: list[Example], model: Any) -> None:
    tuned = add_lora(model, LoraSpec(), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():  # a fresh adapter's B is zero, and then the gradient of A is zero too
        for parameter in trainable(tuned):
            parameter.normal_(std=0.1)
    shared, padded = both_layouts(rows)
    assert shared.inputs["input_ids"].shape[0] == 1, "these rows share a system message"
    assert shared.inputs["input_ids"].numel() < padded.inputs["input_ids"].numel() / 2
    loss, count, gradients = loss_and_gradients(tuned, shared)
    expected_loss, expected_count, expected = loss_and_gradients(tuned, padded)
    assert count == expected_count == sum(sum(row.trained) for row in rows)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert all(gradient.abs().max() > 0 for gradient in expected)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)


def test_only_replies_are_targets(rows: list[Example]) -> None:
    for batch in both_layouts(rows):
        targets = Counter(batch.targets[batch.targets != IGNORE].tolist())
        assert targets == Counter(i for row in rows for i, seen in zip(row.ids, row.trained, strict=True) if seen)


def test_tokens_are_counted_for_each_example(rows: list[Example]) -> None:
    real = sum(len(row.ids) for row in rows)
    assert [batch.tokens for batch in both_layouts(rows)] == [real, real]


def test_the_prefix_never_swallows_a_whole_prompt() -> None:
    """Rows that differ only in the answer: the last prompt token must stay, since its logits give the first answer."""
    rows = [Example((*range(40), answer, 9), (*[False] * 40, True, True)) for answer in (50, 51, 52)]
    batch = make_batch(rows, True, torch.float32)
    assert batch.inputs["input_ids"].shape == (1, 39 + 3 * 3)
    assert Counter(batch.targets[batch.targets != IGNORE].tolist()) == Counter({50: 1, 51: 1, 52: 1, 9: 3})


def test_rows_without_much_in_common_are_padded() -> None:
    rows = [Example((n, *range(100, 140)), (*[False] * 20, *[True] * 21)) for n in range(3)]
    assert make_batch(rows, True, torch.float32).inputs["input_ids"].shape == (3, 41)
    assert make_batch(rows[:1], True, torch.float32).inputs["input_ids"].shape == (1, 41)


def test_padding_is_never_attended_to_nor_predicted() -> None:
    batch = pad([Example((5, 6, 7), (False, True, True)), Example((5, 6), (False, True))])
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.targets.tolist() == [[6, 7, IGNORE], [6, IGNORE, IGNORE]]


@given(st.lists(IDS, min_size=1, max_size=6))
def test_the_common_prefix_is_the_longest(sequences: list[list[int]]) -> None:
    n = common_prefix(sequences)
    assert len({tuple(s[:n]) for s in sequences}) == 1
    assert n == min(map(len, sequences)) or len({s[n] for s in sequences}) > 1


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=5), st.integers(0, 40))
def test_either_layout_has_the_same_targets(parts: list[tuple[list[int], list[int]]], shared: int) -> None:
    rows = [
        Example((*range(100, 100 + shared), *p, *r), (*[False] * (shared + len(p)), *[True] * len(r))) for p, r in parts
    ]
    one, other = both_layouts(rows)
    assert one.tokens == other.tokens
    for batch in (one, other):
        assert batch.targets.shape == batch.inputs["input_ids"].shape
        assert (batch.targets != IGNORE).sum() == sum(len(r) for _, r in parts)
