"""Preference training: the formula, the gradients, the same as TRL on the same batch; it learns, stops and goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import KINDS, Answer, chat_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from executor.data.preference import pair_of
from executor.data.prepare import prepare
from executor.errors import Interrupted, UserError
from executor.files import read_jsonl, write_jsonl
from executor.run_folder import RunFolder
from executor.spec import LoraSpec, TrainSpec
from executor.template import ChatTemplate
from executor.train.loop import train
from executor.train.loss import log_probabilities
from executor.train.model import add_lora, load_base, save_adapter, trainable
from executor.train.objective import REFERENCE, REWARDS, Dpo, Pair, reference
from executor.train.step import prepared
from tools.planning import Wish, plan_job

NewRun = Callable[..., RunFolder]
SETTINGS = TrainSpec(steps=1, objective="dpo", dtype="float32", beta=0.3)
DPO = Dpo()


def pair_rows(count: int = 60) -> list[dict[str, Any]]:
    """The right label is chosen, the next one rejected."""
    kinds = sorted(KINDS)
    wrong = dict(zip(kinds, [*kinds[1:], kinds[0]], strict=True))
    return [
        {**row, "rejected": {"role": "assistant", "content": wrong[row["messages"][-1]["content"]]}}
        for row in chat_rows(count)
    ]


def start(folder: Path, std: float = 0.0) -> Any:
    model = add_lora(load_base(folder, "float32"), LoraSpec(), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.add_(torch.randn_like(parameter) * std)
    return model


@pytest.fixture
def pairs(tiny_model: Path) -> list[Pair]:
    """With the untuned model's log-probabilities."""
    found = DPO.encoded(pair_rows(6), ChatTemplate(tiny_model), SETTINGS, "train")
    before = reference(start(tiny_model), found, SETTINGS).tolist()
    return [pair._replace(reference=tuple(each)) for pair, each in zip(found, before, strict=True)]


def plainly(model: Any, ids: tuple[int, ...], trained: tuple[bool, ...]) -> Tensor:
    """The log-probability of the trained tokens by transformers alone."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].log_softmax(-1)
    each = logits.gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
    return each[torch.tensor(trained[1:])].sum()


def gradient(model: Any, loss: Tensor) -> Tensor:
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in trainable(model) if p.grad is not None])


@pytest.mark.parametrize("fast", [True, False])
def test_loss_gradient_and_rewards_are_the_formulas(pairs: list[Pair], tiny_model: Path, fast: bool) -> None:
    plain, model = start(tiny_model, 0.05), start(tiny_model, 0.05)
    margins = []
    for pair in pairs:
        now = [plainly(plain, side.ids, side.trained) for side in pair[:2]]
        margins.append(SETTINGS.beta * ((now[0] - pair.reference[0]) - (now[1] - pair.reference[1])))
    expected = -torch.stack(margins).sigmoid().log().sum() / len(pairs)
    if fast:
        prepared(model, SETTINGS)
    found = DPO.loss(model, pairs, SETTINGS, 1 / len(pairs))
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.told["reward_margin"] == pytest.approx(sum(each.item() for each in margins), rel=1e-4)
    assert found.told["reward_accuracy"] == sum(each.item() > 0 for each in margins)
    assert found.told["reward_chosen"] - found.told["reward_rejected"] == pytest.approx(
        found.told["reward_margin"], rel=1e-4
    )
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    theirs = dict(zip(names, torch.autograd.grad(expected, trainable(plain)), strict=True))
    found.loss.backward()  # type: ignore[no-untyped-call]
    mine = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    error = torch.cat([(mine[n] - theirs[n]).flatten() for n in names]).norm()
    assert error / torch.cat([g.flatten() for g in theirs.values()]).norm() < 1e-5


def test_an_untrained_model_has_the_loss_of_a_coin(pairs: list[Pair], tiny_model: Path) -> None:
    found = DPO.loss(start(tiny_model), pairs, SETTINGS)
    assert found.loss.item() / len(pairs) == pytest.approx(0.693147, rel=1e-4)
    assert abs(found.told["reward_margin"]) < 1e-3


def test_the_loss_is_that_of_trl(tiny_model: Path, tmp_path: Path) -> None:
    """Its trainer on the same rows and weights; rows as it wants them, prompts rendered to text first."""
    trl = pytest.importorskip("trl")
    datasets, transformers = pytest.importorskip("datasets"), pytest.importorskip("transformers")
    template = ChatTemplate(tiny_model)
    items = DPO.encoded(pair_rows(6), template, SETTINGS, "train")
    decode = template.tokenizer.decode

    def text(side: Any, reply: bool) -> str:
        first, last = side.prompt_length, len(side.trained) - side.trained[::-1].index(True) - 1
        return decode(list(side.ids[first:last] if reply else side.ids[:first]), skip_special_tokens=False)

    rows = [
        {"prompt": text(pair.chosen, False), "chosen": text(pair.chosen, True), "rejected": text(pair.rejected, True)}
        for pair in items
    ]
    model = start(tiny_model)
    options = trl.DPOConfig(
        output_dir=str(tmp_path), beta=SETTINGS.beta, max_steps=3, per_device_train_batch_size=6, learning_rate=1e-3,
        lr_scheduler_type="constant", warmup_steps=0, logging_steps=1, use_cpu=True, report_to="none", seed=0,
        max_length=None, save_strategy="no", max_grad_norm=1e9, optim="adamw_torch", bf16=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=model, args=options, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(tiny_model),
    )  # fmt: skip
    trainer.train()
    theirs = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    model = start(tiny_model)
    before = reference(model, items, SETTINGS).tolist()
    items = [pair._replace(reference=tuple(each)) for pair, each in zip(items, before, strict=True)]
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-3, weight_decay=0.0)
    mine = []
    for _ in range(3):
        found = DPO.loss(model, items, SETTINGS, 1 / len(items))
        optimizer.zero_grad()
        found.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mine.append(found.loss.item())
    assert mine[2] < mine[0]
    assert mine == pytest.approx(theirs, rel=2e-3)


def train_pairs(run: RunFolder, folder: Path, stop_after: int | None = None) -> dict[str, Any] | None:
    spec, seen = run.spec(), [0]
    model = add_lora(load_base(folder, "float32"), spec.lora, spec.train.seed)
    try:
        metrics = train(
            model, run, spec, ChatTemplate(folder), lambda n, *_: seen.__setitem__(0, n),
            lambda: stop_after is not None and seen[0] >= stop_after,
        )  # fmt: skip
    except Interrupted:
        return None
    save_adapter(model, folder, run.adapter)
    return metrics


def test_it_learns_what_is_preferred_and_goes_on_bit_for_bit(new_run: NewRun, tiny_model: Path) -> None:
    settings = {
        "objective": "dpo", "beta": 0.5, "steps": 150, "learning_rate": 3e-3, "evaluate_every": 50,
        "lora": {"dropout": 0.1},
    }  # fmt: skip
    whole, stopped = (new_run(rows=pair_rows(), **settings) for _ in range(2))
    metrics = train_pairs(whole, tiny_model)
    assert metrics is not None
    steps = [line for line in read_jsonl(whole.metrics_file) if "loss" in line]
    checks = [line for line in read_jsonl(whole.metrics_file) if "eval_loss" in line]
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=0.02)
    assert steps[0].keys() >= set(REWARDS)
    assert sum(line["reward_accuracy"] for line in steps[-10:]) / 10 > 0.9
    assert checks[0]["eval_reward_margin"] == pytest.approx(0, abs=1e-3)
    assert checks[-1]["eval_loss"] < checks[0]["eval_loss"]
    for step in (30, 80):
        assert train_pairs(stopped, tiny_model, stop_after=step) is None
    assert train_pairs(stopped, tiny_model) is not None
    ends = [
        hashlib.sha256((run.adapter / "adapter_model.safetensors").read_bytes()).hexdigest() for run in (whole, stopped)
    ]
    assert ends[0] == ends[1]
    assert (whole.checkpoints / REFERENCE).exists()


def test_fewer_pairs_at_once_give_the_same_log_probabilities(pairs: list[Pair], tiny_model: Path) -> None:
    model = start(tiny_model, 0.05)
    prepared(model, SETTINGS)
    examples = DPO.examples(pairs)
    with torch.no_grad():
        together = log_probabilities(model, examples, SETTINGS)
        alone = torch.cat([log_probabilities(model, [example], SETTINGS) for example in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_rows_without_a_rejected_reply_are_refused(tiny_model: Path) -> None:
    rows = [*pair_rows(3), *chat_rows(2)]
    with pytest.raises(UserError, match="2 train rows have no rejected reply, the first is row 4"):
        DPO.encoded(rows, ChatTemplate(tiny_model), SETTINGS, "train")


def test_a_plan_on_preference_rows_chooses_dpo(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    write_jsonl(data, [written(row) for row in pair_rows()])
    prepared_rows = prepare(data)
    assert prepared_rows.pairs
    spec = plan_job("go", Wish(data, base_model=str(tiny_model))).spec
    assert (spec.train.objective, spec.train.beta, spec.train.replay) == ("dpo", 0.1, 0)
    assert spec.train.learning_rate == 1e-5
    assert (spec.data.kind, spec.train.select) == ("text", "eval_loss")
    assert {"train.objective", "train.beta", "train.learning_rate"} <= spec.reasons.keys()


def written(row: dict[str, Any]) -> dict[str, Any]:
    """As TRL reads preference rows."""
    return {"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": [row["rejected"]]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": "Yes"}, 'no "rejected" reply'),
        ({"prompt": "Hi", "chosen": "Yes", "rejected": " Yes "}, "both replies are the same"),
        ({"chosen": "Yes", "rejected": "No"}, "no prompt"),
    ],
)
def test_a_bad_pair_is_told_in_a_line(row: dict[str, Any], message: str) -> None:
    _, problems = pair_of(row, 4)
    assert len(problems) == 1
    assert message in problems[0].message
    assert problems[0].line == 4


def test_a_pair_whose_replies_part_earlier_is_told() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = {"chosen": [*turns, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "rejected": [
        *turns, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}  # fmt: skip
    _, problems = pair_of(row, 1)
    assert "part over 2 and 2 turns" in problems[0].message


TEXT = st.text(min_size=1, max_size=20).filter(str.strip)


@given(TEXT, TEXT, TEXT)
def test_every_way_to_write_a_pair_is_the_same_pair(prompt: str, chosen: str, rejected: str) -> None:
    def turn(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    ways = [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected},
        {"prompt": [turn("user", prompt)], "chosen": [turn("assistant", chosen)], "rejected": [
            turn("assistant", rejected)]},
        {"chosen": [turn("user", prompt), turn("assistant", chosen)], "rejected": [
            turn("user", prompt), turn("assistant", rejected)]},
        {"conversations": [{"from": "human", "value": prompt}], "chosen": {"from": "gpt", "value": chosen},
         "rejected": {"from": "gpt", "value": rejected}},
    ]  # fmt: skip
    built = [pair_of(json.loads(json.dumps(way)), 1) for way in ways]
    if chosen.strip() == rejected.strip():
        assert all(problems for _, problems in built)
        return
    assert all(not problems for _, problems in built)
    assert all(row == built[0][0] for row, _ in built)
    assert built[0][0]["rejected"] == turn("assistant", rejected)


def test_the_whole_job_on_pairs(
    finetune: Callable[..., Answer], jobs_here: None, tiny_model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "pairs.jsonl"
    write_jsonl(data, [written(row) for row in pair_rows()])
    done = finetune("train", data, "--base-model", tiny_model, "--json").json
    run = RunFolder(Path(done["run"]))
    assert done["metrics"]["steps"] > 0
    assert any("reward_margin" in line for line in run.metrics())
    assert "the chosen reply had the higher reward in" in (run.path / "report.md").read_text(encoding="utf-8")
    judged = finetune("evaluate", run.path, "--data", data, "--json").json
    found = judged["scores"]["fine_tuned"]["preference_accuracy"]
    assert found["n"] == 60
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert judged["scores"]["zero_shot"]["preference_accuracy"]["n"] == 60
