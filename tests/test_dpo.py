"""Preference training: the formula, the gradients, the same as TRL on the same batch; it learns, stops and goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import pair_rows
from torch import Tensor

from executor.errors import Interrupted
from executor.files import read_jsonl
from executor.run_folder import RunFolder
from executor.spec import LoraSpec, TrainSpec
from executor.template import ChatTemplate
from executor.train.loop import train
from executor.train.loss import log_probabilities
from executor.train.model import add_lora, load_base, save_adapter, to_train, trainable
from executor.train.objective import REWARDS, Dpo, Pair, reference
from executor.train.step import Step, make_optimizer, prepared, step_that_fits
from executor.train.workers import free_port

NewRun = Callable[..., RunFolder]
SETTINGS = TrainSpec(steps=1, objective="dpo", dtype="float32", beta=0.3)
DPO = Dpo()


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
    model = to_train(folder, spec)
    try:
        metrics = train(
            model, run, spec, ChatTemplate(folder), lambda n, _, unit: seen.__setitem__(0, n * (unit == "steps")),
            lambda: stop_after is not None and seen[0] >= stop_after,
        )  # fmt: skip
    except Interrupted:
        return None
    if spec.train.method != "full":
        save_adapter(model, folder, run.adapter)
    return metrics


def test_it_learns_what_is_preferred_and_goes_on_bit_for_bit(
    new_run: NewRun, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert train_pairs(stopped, tiny_model, stop_after=30) is None
    monkeypatch.setattr("executor.train.objective.reference", None)  # kept: never computed again
    assert train_pairs(stopped, tiny_model, stop_after=80) is None
    assert train_pairs(stopped, tiny_model) is not None
    ends = [
        hashlib.sha256((run.adapter / "adapter_model.safetensors").read_bytes()).hexdigest() for run in (whole, stopped)
    ]
    assert ends[0] == ends[1]


def test_a_stop_before_the_first_step_is_heard(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(rows=pair_rows(), objective="dpo")
    with pytest.raises(Interrupted, match="Stopped as asked"):
        train(
            to_train(tiny_model, run.spec()), run, run.spec(), ChatTemplate(tiny_model), lambda *_: None, lambda: True
        )
    assert not run.metrics_file.exists()


def test_every_weight_can_be_trained_on_pairs(new_run: NewRun, tiny_model: Path) -> None:
    run = new_run(rows=pair_rows(), objective="dpo", method="full", beta=0.5, steps=100, learning_rate=3e-3)
    metrics = train_pairs(run, tiny_model)
    assert metrics is not None
    assert metrics["train_loss"] < 0.5


TWO = """
import sys
from pathlib import Path
from executor.run_folder import RunFolder
from executor.template import ChatTemplate
from executor.train.loop import train
from executor.train.model import to_train
from executor.train.world import join

run, folder = RunFolder(Path(sys.argv[1])), Path(sys.argv[2])
train(to_train(folder, run.spec()), run, run.spec(), ChatTemplate(folder), lambda *_: None, lambda: False, world=join())
"""


def test_two_processes_train_what_one_trains(new_run: NewRun, tiny_model: Path) -> None:
    alone, shared = (new_run(rows=pair_rows(), objective="dpo", steps=4) for _ in range(2))
    train_pairs(alone, tiny_model)
    others = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen([sys.executable, "-c", TWO, str(shared.path), str(tiny_model)],
                         env=os.environ | others | {"RANK": str(rank)})
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    for mine, theirs in zip(read_jsonl(shared.metrics_file), read_jsonl(alone.metrics_file), strict=True):
        for key in theirs.keys() & {"loss", "eval_loss", "grad_norm", *REWARDS}:
            assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5)


def test_memory_that_runs_out_keeps_the_step(
    pairs: list[Pair], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six pairs at once fail; then three, the second part; then one."""

    def limited(model: Any, examples: Any, settings: TrainSpec) -> Tensor:
        calls.append(len(examples))
        if len(calls) in (1, 3):
            raise MemoryError
        return log_probabilities(model, examples, settings)

    def stepped() -> Step:
        model = start(tiny_model, 0.05)
        flat = prepared(model, SETTINGS)
        return step_that_fits(model, pairs, DPO, SETTINGS, flat, make_optimizer(flat, SETTINGS), 6)

    calls: list[int] = []
    expected = stepped()
    monkeypatch.setattr("executor.train.objective.log_probabilities", limited)
    found = stepped()
    assert found.micro == 1
    assert (found.loss, found.norm) == pytest.approx((expected.loss, expected.norm), rel=1e-4)
    assert found.told == pytest.approx(expected.told, rel=1e-3, abs=1e-5)


def test_fewer_pairs_at_once_give_the_same_log_probabilities(pairs: list[Pair], tiny_model: Path) -> None:
    model = start(tiny_model, 0.05)
    prepared(model, SETTINGS)
    examples = DPO.examples(pairs)
    with torch.no_grad():
        together = log_probabilities(model, examples, SETTINGS)
        alone = torch.cat([log_probabilities(model, [example], SETTINGS) for example in examples])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
