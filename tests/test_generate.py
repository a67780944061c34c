"""Batched answers behind a cached prefix are those of plain `generate`, one prompt at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import chat_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.evaluate import shared
from executor.evaluate.generate import MARGIN, MAX_BATCH_TOKENS, Answer, Quick, agrees, batches, generate, settle
from executor.spec import LoraSpec
from executor.template import ChatTemplate
from executor.train.model import add_lora

NEW = 12


@pytest.fixture
def template(tiny_model: Path) -> ChatTemplate:
    return ChatTemplate(tiny_model)


@pytest.fixture
def prompts(template: ChatTemplate) -> list[list[int]]:
    """Of different lengths, with a system message in common."""
    return [template.prompt_ids(row["messages"][:-1]) for row in chat_rows(14)]


def plain(model: Any, prompts: Sequence[Sequence[int]], ends: set[int]) -> list[tuple[int, ...]]:
    """Stock transformers, one by one; the end-of-turn token and what follows are cut off."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False,
            eos_token_id=sorted(ends) or None, pad_token_id=0,
        )  # fmt: skip
        new = out[0, len(prompt) :].tolist()
        found.append(tuple(new[: next((i for i, token in enumerate(new) if token in ends), len(new))]))
    return found


def frequent(answers: Sequence[Sequence[int]]) -> int:
    """A token that ends some answers early, not all at their first token."""
    later = [token for answer in answers for token in answer[2:]]
    return max(set(later), key=later.count)


@pytest.mark.parametrize("size", [1, 4, 32])
def test_batched_answers_are_those_of_plain_generate(size: int, model: Any, prompts: list[list[int]]) -> None:
    expected = plain(model, prompts, set())
    assert len(set(expected)) > 1, "a model that says the same to everything would prove nothing"
    end = frequent(expected)
    stopping = plain(model, prompts, {end})
    assert min(map(len, stopping)) < NEW
    for ends, wanted in ((set(), expected), ({end}, stopping)):
        answers = generate(model, prompts, ends, NEW, size)
        assert [answer.ids for answer in answers] == wanted


def test_prompts_with_nothing_in_common_and_a_single_one(model: Any) -> None:
    rng = random.Random(0)
    prompts = [[rng.randrange(3, 300) for _ in range(length)] for length in (3, 17, 9, 1, 30)]
    assert [a.ids for a in generate(model, prompts, set(), NEW, 3)] == plain(model, prompts, set())
    assert generate(model, prompts[:1], set(), NEW, 3)[0].ids == plain(model, prompts[:1], set())[0]


def test_equal_prompts_get_equal_answers(model: Any, prompts: list[list[int]]) -> None:
    answers = generate(model, [prompts[0]] * 3, set(), NEW, 2)
    assert len({answer.ids for answer in answers}) == 1


def test_the_end_token_is_no_part_of_an_answer_and_progress_is_told(model: Any, prompts: list[list[int]]) -> None:
    end = frequent(plain(model, prompts, set()))
    told: list[int] = []
    answers = generate(model, prompts, {end}, NEW, 5, told.append)
    assert all(end not in answer.ids for answer in answers)
    assert told == [5, 10, 14]


def test_the_margin_is_the_smallest_lead_of_a_chosen_token(model: Any, prompts: list[list[int]]) -> None:
    (answer,) = generate(model, prompts[:1], set(), NEW, 1)
    ids = [*prompts[0], *answer.ids]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, len(prompts[0]) - 1 : -1].float()
    top = logits.topk(2, dim=-1).values
    assert answer.margin == pytest.approx((top[:, 0] - top[:, 1]).min().item(), abs=1e-3)
    assert tuple(logits.argmax(dim=-1).tolist()) == answer.ids


def test_only_near_ties_are_asked_again(model: Any, prompts: list[list[int]]) -> None:
    wrong = [Answer((1, 2, 3), MARGIN / 2), Answer((1, 2, 3), MARGIN * 2)]
    settled = settle(model, prompts[:2], wrong, set(), NEW)
    assert settled[0].ids == plain(model, prompts[:1], set())[0]
    assert settled[1] is wrong[1]


def test_settled_answers_in_bfloat16_are_those_of_plain_generate(tiny_model: Path, prompts: list[list[int]]) -> None:
    from executor.train.model import load_base

    model = load_base(tiny_model, "bfloat16")
    answers = settle(model, prompts, generate(model, prompts, set(), NEW, 8), set(), NEW)
    assert [answer.ids for answer in answers] == plain(model, prompts, set())


# The quick way: one prefix for all rows, used only where it gives the model's own logits.


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 40), st.integers(1, 20))
def test_batches_hold_every_row_once_and_rows_of_like_length(lengths: list[int], more: int, most: int) -> None:
    found = list(batches(lengths, more, most))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    for batch in found:
        sizes = [lengths[place] for place in batch]
        assert len(batch) <= most
        assert max(sizes) <= 2 * min(sizes) + 24
        assert len(batch) == 1 or len(batch) * (max(sizes) + more) <= MAX_BATCH_TOKENS


def test_the_quick_way_is_taken_where_it_agrees(model: Any, prompts: list[list[int]], template: ChatTemplate) -> None:
    assert agrees(model)
    assert agrees(add_lora(model, LoraSpec(r=4), seed=0))


def test_a_quick_way_that_errs_is_not_taken(
    model: Any, prompts: list[list[int]], template: ChatTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "one_part", lambda q, k, v, bias, scale: (q, q.float().sum(-1)))
    assert not agrees(model)
    answers = generate(model, prompts, template.end_ids, NEW, 4)
    assert [answer.ids for answer in answers] == plain(model, prompts, template.end_ids)


def test_both_ways_of_attention_are_the_same() -> None:
    """The CPU's own kernel, and the plain products that other devices use."""
    q, k, v = (torch.randn(3, 2, n, 8, generator=torch.Generator().manual_seed(n)) for n in (4, 6, 6))
    bias = torch.zeros(3, 1, 4, 6)
    bias[..., 4:] = -torch.inf
    out, weight = shared.one_part(q, k, v, bias, 0.3)
    plainly, other = shared.plain_part(q, k, v, bias, 0.3)
    assert torch.allclose(out, plainly, atol=1e-5)
    assert torch.allclose(weight, other, atol=1e-5)


def test_rows_that_end_make_room_and_the_others_go_on(model: Any, prompts: list[list[int]]) -> None:
    """Every token may end some row: rows drop out at different steps."""
    ends = set(range(0, 400, 7))
    answers = generate(model, prompts, ends, NEW, 14)
    assert [answer.ids for answer in answers] == plain(model, prompts, ends)
    assert len({len(answer.ids) for answer in answers}) > 1


def test_memory_that_runs_out_halves_the_rows(
    model: Any, prompts: list[list[int]], template: ChatTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    begin = Quick.begin

    def greedy(self: Quick, suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
        sizes.append(len(suffixes))
        if len(suffixes) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return begin(self, suffixes)

    assert agrees(model)
    monkeypatch.setattr(Quick, "begin", greedy)
    answers = generate(model, prompts, template.end_ids, NEW, 14)
    assert [answer.ids for answer in answers] == plain(model, prompts, template.end_ids)
    assert sizes[0] > 4 >= sizes[-1]
