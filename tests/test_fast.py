"""The fast ways of training: loss and gradients are those of the plain modules, for every layout of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import chat_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from executor.encode import Example, encode_all
from executor.errors import UserError
from executor.spec import LoraSpec, TrainSpec
from executor.template import ChatTemplate
from executor.train import loss as losses
from executor.train import objective, step
from executor.train.attention import Layout, attention, by_blocks, laid_out
from executor.train.batch import BUCKET, IGNORE, Batch, make_batch, pad, round_up
from executor.train.cross_entropy import AT_ONCE, token_losses
from executor.train.fast import quicken
from executor.train.flat import FlatParameters
from executor.train.model import add_lora, load_base, trainable

SETTINGS = TrainSpec(steps=1, dtype="float32")
SFT = objective.Sft()


def tuned(folder: Path, **lora: Any) -> Any:
    """A model with an adapter that is not at its beginning, where B is zero and A has no gradient."""
    model = add_lora(load_base(folder, "float32"), LoraSpec(**lora), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.normal_(std=0.1)
    return model


def gradients(model: Any, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    total = losses.batch_loss(model, batch, SETTINGS)
    total.backward()  # type: ignore[no-untyped-call]
    return total.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def rows(tiny_model: Path) -> list[Example]:
    return encode_all(chat_rows(8), ChatTemplate(tiny_model), 512, "train")


@pytest.mark.parametrize("prefix", ["shared", "none"])
@pytest.mark.parametrize("lora", [{}, {"r": 4, "alpha": 4, "rslora": True}, {"target_modules": ("q_proj", "v_proj")}])
def test_gradients_equal_those_of_the_plain_modules(
    rows: list[Example], tiny_model: Path, lora: dict[str, Any], prefix: str
) -> None:
    if prefix == "none":
        rows = [Example((n + 5, *row.ids), (False, *row.trained)) for n, row in enumerate(rows)]
    expected_loss, expected = gradients(tuned(tiny_model, **lora), pad(rows))
    model = tuned(tiny_model, **lora)
    plain_forwards = {name: module.forward for name, module in model.named_modules()}
    quicken(model)
    replaced = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if m.forward != plain_forwards[n]}
    assert {"q_proj", "input_layernorm", "mlp"} <= replaced
    batch = make_batch(rows, True, torch.float32, blocks=True)
    assert batch.inputs["input_ids"].shape[0] == 1
    assert batch.layout is not None
    assert (batch.layout.prefix > 0) is (prefix == "shared")
    loss, found = gradients(model, batch)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert found.keys() == expected.keys()
    error = torch.cat([(found[n] - expected[n]).flatten() for n in found]).norm()
    assert error / torch.cat([g.flatten() for g in expected.values()]).norm() < 1e-5
    assert all(gradient.abs().max() > 0 for gradient in expected.values())


def test_sequences_and_logits_come_in_few_sizes(rows: list[Example]) -> None:
    """Each size has matrix products prepared for it, which costs time and memory."""
    for n in range(2, 9):
        batch = make_batch(rows[:n], True, torch.float32, blocks=True)
        assert batch.inputs["input_ids"].shape[1] % BUCKET == 0
        assert batch.tokens == sum(len(row.ids) for row in rows[:n])
        assert (batch.targets != IGNORE).sum() == sum(sum(row.trained) for row in rows[:n])
        places = losses.places_with_targets(batch.targets)
        assert len(places) % losses.PLACES == 0
        assert set((batch.targets[0] != IGNORE).nonzero().squeeze(1).tolist()) <= set(places.tolist())
    everywhere = torch.zeros(1, 5, dtype=torch.long)
    assert losses.places_with_targets(everywhere).tolist() == [0, 1, 2, 3, 4]


def test_a_dropout_or_dora_stays_with_the_plain_modules(tiny_model: Path) -> None:
    base = load_base(tiny_model, "float32")
    for model in (
        add_lora(base, LoraSpec(dropout=0.1), 0),
        add_lora(load_base(tiny_model, "float32"), LoraSpec(), 0, dora=True),
    ):
        before = {n: m.forward for n, m in model.named_modules() if n.endswith("_proj")}
        quicken(model)
        assert before
        assert all(m.forward == before[n] for n, m in model.named_modules() if n in before)


@pytest.mark.parametrize("config", [{"sliding_window": 8}, {"layer_types": ["sliding_attention", "full_attention"]}])
def test_attention_with_a_window_is_left_alone(tiny_model: Path, config: dict[str, Any]) -> None:
    model = tuned(tiny_model)
    for key, value in config.items():
        setattr(model.config, key, value)
    quicken(model)
    assert model.config._attn_implementation == "sdpa"
    assert not losses.blocks(model)


def test_an_adapter_that_is_switched_off_is_off(rows: list[Example], tiny_model: Path) -> None:
    model = tuned(tiny_model)
    ids = torch.tensor([rows[0].ids])
    with torch.no_grad(), model.disable_adapter():
        expected = model(input_ids=ids).logits
    quicken(model)
    with torch.no_grad():
        with model.disable_adapter():
            torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)
        assert (model(input_ids=ids).logits - expected).abs().max() > 0.01


def block_mask(p: int, lengths: list[int], fill: int) -> Tensor:
    """(N, N): which tokens a token sees."""
    owners = [0] * p + [row for row, n in enumerate(lengths, start=1) for _ in range(n)] + [-1] * fill
    owner, order = torch.tensor(owners), torch.arange(len(owners))
    return ((owner[None] == 0) | (owner[:, None] == owner[None])) & (order[:, None] >= order[None])


@given(
    st.integers(0, 9), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 2),
    st.booleans(), st.integers(1, 8),
)  # fmt: skip
def test_attention_by_blocks_is_attention_under_the_mask(
    p: int, lengths: list[int], fill: int, groups: int, turned: bool, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("executor.train.attention.PIECE", piece)
        compare_attention(p, lengths, fill, groups, turned)


def compare_attention(p: int, lengths: list[int], fill: int, groups: int, turned: bool) -> None:
    layout = Layout.of(p, lengths, fill, torch.float64)
    n, heads, width = p + sum(lengths) + fill, 2 * groups, 4
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, h, n, width, generator=generator, dtype=torch.float64) for h in (heads, groups, groups)]
    q, k, v = (x.requires_grad_() for x in made)
    weight = torch.randn(1, n, heads, width, generator=generator, dtype=torch.float64)
    weight[:, n - fill :] = 0
    angles = torch.rand(1, n, width // 2, generator=generator, dtype=torch.float64).repeat(1, 1, 2)
    turn = angles.cos(), angles.sin()
    if turned:
        out = by_blocks(*(x[0].transpose(0, 1) for x in (q, k, v)), turn, layout, width**-0.5)[None]
    else:
        with laid_out(layout):
            out, _ = attention(torch.nn.Module(), q, k, v, None)
    q_, k_ = apply_rotary_pos_emb(q, k, *turn) if turned else (q, k)
    wide = [x.repeat_interleave(2, dim=1) for x in (k_, v)]
    allowed = block_mask(p, lengths, fill)
    expected = torch.nn.functional.scaled_dot_product_attention(q_, *wide, attn_mask=allowed).transpose(1, 2)
    torch.testing.assert_close(out[:, : n - fill], expected[:, : n - fill])
    mine = torch.autograd.grad((out * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@given(st.integers(1, 9), st.integers(2, 30), st.integers(1, 64), st.sampled_from([1.0, 0.25, 3.0]), st.data())
def test_cross_entropy_and_its_gradient_are_torchs(
    n: int, size: int, at_once: int, scale: float, data: st.DataObject
) -> None:
    targets = torch.tensor(data.draw(st.lists(st.sampled_from([IGNORE, *range(size)]), min_size=n, max_size=n)))
    logits = (
        20 * torch.randn(n, size, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    ).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AT_ONCE, "cpu", at_once)
        of_sum, of_each = (token_losses(logits, targets, scale) for _ in range(2))
        (mine,) = torch.autograd.grad(of_sum.sum(), logits)
        each = torch.arange(n, dtype=torch.float64)
        (weighted,) = torch.autograd.grad((of_each * each).sum(), logits)
    expected = scale * torch.nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORE)
    (theirs,) = torch.autograd.grad(expected.sum(), logits, retain_graph=True)
    (weighted_theirs,) = torch.autograd.grad((expected * each).sum(), logits)
    torch.testing.assert_close(of_sum, expected)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(weighted, weighted_theirs)


def test_smaller_micro_batches_take_the_same_step(rows: list[Example], tiny_model: Path) -> None:
    values = []
    for micro in (8, 3, 1):
        model = tuned(tiny_model)
        flat = step.prepared(model, SETTINGS)
        optimizer = step.make_optimizer(flat, SETTINGS)
        loss, norm, used, _ = step.step_that_fits(model, rows, SFT, SETTINGS, flat, optimizer, micro)
        assert used == micro
        assert flat.gradient.abs().max() == 0
        values.append((loss, norm))
    assert values[1] == pytest.approx(values[0], rel=1e-4)
    assert values[2] == pytest.approx(values[0], rel=1e-4)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step(
    rows: list[Example], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(model: Any, batch: Batch, settings: TrainSpec, scale: float = 1.0) -> Tensor:
        calls.append(batch.tokens)
        if len(calls) in short:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, batch, settings, scale)

    # eight rows at once; then four, where the second part fails after the first was computed; then two
    real, calls, short = losses.batch_loss, list[int](), {1, 3}
    model = tuned(tiny_model)
    flat = step.prepared(model, SETTINGS)
    optimizer = step.make_optimizer(flat, SETTINGS)
    plain = tuned(tiny_model)
    expected = step.step_that_fits(plain, rows, SFT, SETTINGS, *fresh(plain), micro=8)
    monkeypatch.setattr(objective, "batch_loss", limited)
    mean, _ = step.validation(model, rows, SFT, SETTINGS, 8)
    assert mean == pytest.approx(expected.loss, rel=1e-4)
    assert len(calls) == 3 + 4
    calls.clear()
    found = step.step_that_fits(model, rows, SFT, SETTINGS, flat, optimizer, 8)
    assert found.micro == 2
    assert (found.loss, found.norm) == pytest.approx((expected.loss, expected.norm), rel=1e-4)
    calls.clear()
    short = set(range(100))
    with pytest.raises(UserError, match="Not even one row"):
        step.step_that_fits(model, rows, SFT, SETTINGS, flat, optimizer, 8)


def fresh(model: Any) -> tuple[FlatParameters, torch.optim.Optimizer]:
    flat = FlatParameters(trainable(model))
    return flat, step.make_optimizer(flat, SETTINGS)


def test_flat_parameters_are_the_parameters(tiny_model: Path) -> None:
    model = tuned(tiny_model)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    flat = FlatParameters(trainable(model))
    with torch.no_grad():
        flat.whole.add_(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.detach(), before[name] + 1)
    flat.release()
    with torch.no_grad():
        flat.whole.zero_()
    assert all(parameter.abs().max() > 0 for parameter in trainable(model))


def test_compiled_layers_give_the_same_and_few_lengths_occur(rows: list[Example], tiny_model: Path) -> None:
    settings = SETTINGS.model_copy(update={"compile": True})
    longer = [Example((*row.ids, *row.ids), (*row.trained, *row.trained)) for row in rows]
    plain, model = tuned(tiny_model), tuned(tiny_model)
    flat = step.prepared(model, settings)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for part in (rows[:4], longer[:4], rows[4:]):
        batch = losses.batch_of(model, part, settings)
        assert batch.inputs["input_ids"].shape[-1] == round_up(batch.inputs["input_ids"].shape[-1])
        expected_loss, expected = gradients(plain, pad(part))
        total = losses.batch_loss(model, batch, settings)
        total.backward()  # type: ignore[no-untyped-call]
        assert total.item() == pytest.approx(expected_loss, rel=1e-5)
        found = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        error = torch.cat([(found[n] - expected[n]).flatten() for n in expected]).norm()
        assert error / torch.cat([g.flatten() for g in expected.values()]).norm() < 1e-5
        flat.clear()
        plain.zero_grad()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before == 4, (
        "two for each length: the first layer, the others"
    )


@given(st.integers(1, 20_000))
def test_lengths_are_rounded_up_by_a_quarter_at_most(length: int) -> None:
    assert length <= round_up(length) <= max(length + 16, 1.25 * length)
    assert round_up(round_up(length)) == round_up(length)
