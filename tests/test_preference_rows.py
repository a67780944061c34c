"""Preference rows: every way they are written, what is refused, what a plan makes of them, the whole job on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer, chat_rows, pair_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.data.preference import pair_of
from executor.data.prepare import prepare
from executor.errors import UserError
from executor.files import write_jsonl
from executor.run_folder import RunFolder
from executor.spec import TrainSpec
from executor.template import ChatTemplate
from executor.train.objective import Dpo
from tools.planning import Wish, plan_job

SETTINGS = TrainSpec(steps=1, objective="dpo", dtype="float32")
DPO = Dpo()


def test_earlier_replies_are_no_part_of_the_comparison(tiny_model: Path) -> None:
    turns = [("user", "Hi"), ("assistant", "Hello, what is it?"), ("user", "A tool?")]
    prompt = [{"role": role, "content": text} for role, text in turns]
    row, problems = pair_of({"prompt": prompt, "chosen": "Yes", "rejected": "No"}, 1)
    assert not problems
    (pair,) = DPO.encoded([row], ChatTemplate(tiny_model), SETTINGS, "train")
    decode = ChatTemplate(tiny_model).tokenizer.decode
    for side, reply in ((pair.chosen, "Yes"), (pair.rejected, "No")):
        trained = [token for token, flag in zip(side.ids, side.trained, strict=True) if flag]
        assert decode(trained, skip_special_tokens=True).strip() == reply


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
        {"instruction": prompt, "input": "", "chosen": chosen, "rejected": rejected},
        {"prompt": prompt, "chosen": [turn("user", prompt), turn("assistant", chosen)], "rejected": [
            turn("user", prompt), turn("assistant", rejected)]},
    ]  # fmt: skip
    built = [pair_of(json.loads(json.dumps(way)), 1) for way in ways]
    if chosen.strip() == rejected.strip():
        assert all(problems for _, problems in built)
        return
    assert all(not problems for _, problems in built)
    assert all(row == built[0][0] for row, _ in built)
    assert built[0][0]["rejected"] == turn("assistant", rejected)


def test_a_system_column_leads() -> None:
    row, _ = pair_of({"system": "Be brief.", "prompt": "Hi", "chosen": "Yes", "rejected": "No"}, 1)
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "system" not in row


@pytest.mark.parametrize(
    "rejected",
    [
        [{"role": "user", "content": "No"}],
        [{"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}],
    ],
)
def test_a_rejected_reply_is_checked_as_the_chosen_one_is(rejected: list[dict[str, Any]]) -> None:
    _, problems = pair_of({"prompt": "Hi", "chosen": "Yes", "rejected": rejected}, 1)
    assert any(problem.severity == "error" for problem in problems)


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
    judged = finetune("evaluate", run.path, "--data", run.data / "test.jsonl", "--json").json
    found = judged["scores"]["fine_tuned"]["preference_accuracy"]
    assert found["n"] == len(run.rows("test"))
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert judged["scores"]["zero_shot"]["preference_accuracy"]["n"] == len(run.rows("test"))
