"""One plan as the configuration of other trainers: the same values, the split's rows, and what is missing is named."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import parsers
import pytest
import yaml
from chat_server import serving
from conftest import Answer, chat_rows, pair_rows
from hypothesis import example, given
from hypothesis import settings as tries
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from agent.offline import reply
from executor.errors import UserError
from executor.files import read_jsonl
from executor.run_folder import RunFolder
from executor.spec import DataSpec, LoraSpec, Method, ModelSpec, RunSpec, SweepSpec, TrainSpec, load_spec
from executor.trainers import TRAINERS, Plan, hand_over, keys
from executor.trainers.text import as_yaml
from knowledge.load import sources

Finetune = Callable[..., Answer]
METHODS = get_args(Method)
CHANGED = {
    "learning_rate": 3e-5, "epochs": 2, "steps": 11, "batch_size": 12, "micro_batch": 4, "warmup_share": 0.2,
    "weight_decay": 0.01, "max_grad_norm": 0.5, "max_length": 777, "seed": 5, "keep_checkpoints": 3,
    "evaluate_every": 4, "select": "eval_loss", "patience": 2, "dtype": "bfloat16",
}  # fmt: skip
LORA = {"r": 24, "alpha": 48, "dropout": 0.1, "rslora": True, "target_modules": ("q_proj", "v_proj")}


def plan(rows: list[dict[str, Any]] | None = None, base: str = "org/model", **train: Any) -> Plan:
    """50 rows to train, 10 to validate; every value differs from the trainers' defaults."""
    rows = rows or (pair_rows() if train.get("objective") == "dpo" else chat_rows())
    spec = RunSpec(
        kind="train", stages=("train",), model=ModelSpec(name="m", source="hub", hub_id="org/model", revision="abc"),
        data=DataSpec(path="/somewhere/things.csv", version="0" * 64), lora=LoraSpec(**LORA),
        train=TrainSpec(**{**CHANGED, **train}),
    )  # fmt: skip
    return Plan(spec, base, rows[:50], rows[50:])


def settings_of(trainer: str, made: Plan) -> dict[str, Any]:
    """Every name that the configuration gives a value, flat."""
    written = TRAINERS[trainer](made)  # type: ignore[index]
    text = written.files[written.config]
    if not written.config.endswith(".py"):
        found = yaml.safe_load(text)
        assert isinstance(found, dict)
        return found
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    named = [keyword for call in calls for keyword in call.keywords]
    return {str(each.arg): value(each.value) for each in named}


def value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_values_are_the_plans(trainer: Any, method: str, objective: str) -> None:
    made = plan(method=method, objective=objective)
    found = settings_of(trainer, made)
    columns = ("axolotl",) if trainer == "axolotl" else (trainer, "transformers")
    named = made.renamed(*columns)
    assert len(named) == 8 + (4 if method != "full" else 0) + (objective == "dpo")
    assert {name: found.get(name) for name in named} == named
    axolotl = trainer == "axolotl"
    micro = "micro_batch_size" if axolotl else "per_device_train_batch_size"
    assert (found[micro], found["gradient_accumulation_steps"]) == (4, 3), "together the plan's batch"
    assert found["lr_scheduler" if axolotl else "lr_scheduler_type"] == "cosine"
    assert found["optimizer" if axolotl else "optim"] == "adamw_torch_fused"
    assert (found["warmup_steps"], found["bf16"], found["fp16"]) == (2, True, False)
    assert (found["eval_steps"], found["save_steps"], found["load_best_model_at_end"]) == (4, 4, True)
    assert "org/model" in found.values()
    assert "abc" in found.values()
    lists = ["q_proj", "v_proj"]
    assert (lists in found.values() or "q_proj,v_proj" in found.values()) is (method != "full")


@pytest.mark.parametrize(
    ("trainer", "method", "says"),
    [
        ("trl", "lora", {"use_peft": True, "use_dora": False}),
        ("trl", "dora", {"use_peft": True, "use_dora": True}),
        ("trl", "qlora", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}),
        ("trl", "full", {"use_peft": False, "dtype": "float32"}),
        ("axolotl", "lora", {"adapter": "lora", "load_in_4bit": False}),
        ("axolotl", "dora", {"adapter": "lora", "peft_use_dora": True}),
        ("axolotl", "qlora", {"adapter": "qlora", "load_in_4bit": True}),
        ("axolotl", "full", {"sequence_len": 777}),
        ("llamafactory", "lora", {"finetuning_type": "lora", "use_dora": False}),
        ("llamafactory", "dora", {"finetuning_type": "lora", "use_dora": True}),
        ("llamafactory", "qlora", {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}),
        ("llamafactory", "full", {"finetuning_type": "full"}),
        ("unsloth", "lora", {"load_in_4bit": False, "full_finetuning": False}),
        ("unsloth", "dora", {"use_dora": True}),
        ("unsloth", "qlora", {"load_in_4bit": True}),
        ("unsloth", "full", {"full_finetuning": True, "load_in_4bit": False}),
    ],
)
def test_each_method_has_its_name_there(trainer: str, method: str, says: dict[str, Any]) -> None:
    found = settings_of(trainer, plan(method=method))
    assert {name: found.get(name) for name in says} == says
    assert ("adapter" in found) is (trainer == "axolotl" and method != "full")


def test_no_field_of_a_training_is_forgotten() -> None:
    """A new field of the spec gets a name there, or is told as missing."""
    known = keys()
    told = [*known.keys, *known.made, *known.missing, *known.ours, *known.faults]
    fields = {f"train.{name}" for name in TrainSpec.model_fields} | {f"lora.{name}" for name in LoraSpec.model_fields}
    assert sorted(told) == sorted(fields | {"sweep", "tracker"})
    assert known.trainers.keys() == TRAINERS.keys()
    assert {each for trainer in known.trainers.values() for each in trainer.sources} <= sources().keys()
    columns = {column for names in known.keys.values() for column in names}
    assert columns == {*TRAINERS, "transformers"}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_has_no_equivalent_is_named(trainer: Any, tmp_path: Path) -> None:
    made = plan(curriculum="staged", watched_rows=7, replay=9, select="task_metric")
    spec = made.spec.model_copy(update={"sweep": SweepSpec(learning_rates=(1e-4, 2e-4), steps=3)})
    written = hand_over(Plan(spec, made.base, made.train, made.validation), trainer, tmp_path / "out")
    for word in ("curriculum (staged)", "Replay of 9", "7 validation rows", "sweep", "answers the task best"):
        assert any(word in each for each in written["missing"]), word
        for name in (written["config"], tmp_path / "out" / "README.md"):
            text = Path(name).read_text(encoding="utf-8").replace("#   ", "").replace("\n", " ")
            assert word in text
    plain = plan(curriculum="none", watched_rows=0, patience=0, select="last").without(trainer)
    assert plain == []
    assert any("2 validations" in each for each in plan().without("trl"))


def test_each_reply_that_is_trained_here_is_trained_there() -> None:
    """A reply of weight 0 first, then one that counts; then rows that train both, and rows that do either."""
    first = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in chat_rows(1)[0]["messages"]]
    last, both, some = [], [], []
    for row in chat_rows():
        last.append({"messages": [*first, *row["messages"][1:]]})
        both.append({"messages": [*({**turn, "weight": 1} for turn in first), *row["messages"][1:]]})
    some = [*last[:20], *both[20:]]
    assert settings_of("trl", plan(last))["completion_only_loss"] is True
    assert settings_of("trl", plan(both))["assistant_only_loss"] is True
    assert [settings_of("llamafactory", plan(rows))["mask_history"] for rows in (last, both)] == [True, False]
    dataset = settings_of("axolotl", plan(last))["datasets"][0]
    assert dataset["message_field_training"] == "training"
    line = json.loads(TRAINERS["axolotl"](plan(last)).files["data/train.jsonl"].splitlines()[0])
    assert [turn.get("training") for turn in line["messages"]] == [None, None, False, None, None]
    for trainer in ("trl", "llamafactory", "unsloth"):
        assert any("weight 0" in each for each in TRAINERS[trainer](plan(some)).missing)  # type: ignore[index]
    assert not any("weight 0" in each for each in TRAINERS["axolotl"](plan(some)).missing)
    twice = [{"messages": [row["messages"][1], *row["messages"][1:]]} for row in chat_rows()]
    assert any(each.startswith("60 rows in which") for each in TRAINERS["llamafactory"](plan(twice)).missing)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("pairs", [False, True])
def test_the_rows_are_the_splits_and_the_test_stays_sealed(
    finetune: Finetune, table: Path, tiny_model: Path, tmp_path: Path, trainer: str, pairs: bool
) -> None:
    from tools.planning import Wish, plan_job
    from tools.train import TRAIN_RATIOS

    if pairs:
        table = parsers.pairs(tmp_path / "pairs.jsonl")
    words = ("plan", table, "--base-model", tiny_model, "--to", trainer, "-o", tmp_path / "out", "--json")
    answer = finetune(*words)
    assert answer.code == 0, answer.err
    assert {"spec", "estimate", "reasons", "written"} <= answer.json.keys()
    written = answer.json["written"]
    assert written["trainer"] == trainer
    split = plan_job("train", Wish(table, base_model=str(tiny_model)), TRAIN_RATIOS).prepared
    for name, rows in (("train", split.train), ("validation", split.validation)):
        there = read_jsonl(tmp_path / "out" / "data" / f"{name}.jsonl")
        assert [texts(row) for row in there] == [texts(row) for row in rows]
    held_out = tmp_path / "out" / "held_out" / "test.jsonl"
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file() and file != held_out]
    everything = "".join(file.read_text(encoding="utf-8") for file in files)
    assert split.test
    assert read_jsonl(held_out) == split.test
    assert "held_out" not in Path(written["config"]).read_text(encoding="utf-8"), "the trainer is not told of them"
    command = f"finetune evaluate --endpoint URL --model NAME --data {held_out} --base-model {tiny_model}"
    assert (written["held_out"], written["measure"]) == (str(held_out), command)
    told = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert command.replace(str(held_out), "held_out/test.jsonl") in told
    assert "would test on rows that this training saw" in told
    for row in split.test:
        assert json.dumps(row["messages"][-2]["content"])[1:-1] not in everything
    assert sorted(written["files"]) == sorted(
        str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()
    )
    assert load_spec(tmp_path / "out" / "spec.yaml").model_dump(mode="json") == answer.json["spec"]
    again = finetune(*words)
    assert again.code == 3
    assert "exists" in json.loads(again.out)["error"]["what"]
    assert finetune(*words, "--yes").code == 0


def test_a_result_is_measured_on_the_rows_held_out_of_it(
    finetune: Finetune, table: Path, tiny_model: Path, tmp_path: Path, jobs_here: None
) -> None:
    """The very command that is told, and it is told on standard output as well."""
    out = tmp_path / "out dir"
    said = finetune("plan", table, "--base-model", tiny_model, "--to", "trl", "-o", out)
    (command,) = re.findall(r"`finetune (evaluate [^`]*)`", said.out)
    assert "would test on rows that this training saw" in said.out
    with serving() as server:
        words = [{"URL": server.url, "NAME": "m"}.get(word, word) for word in shlex.split(command)]
        done = finetune(*words, "--json")
    assert done.code in (0, 1), done.err
    assert RunFolder(Path(done.json["run"])).rows("test") == read_jsonl(out / "held_out" / "test.jsonl")


def texts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Who says what, in every layout."""
    parts = [row.get(part) or [] for part in ("messages", "prompt", "completion", "chosen", "rejected")]
    said = [turn for part in parts for turn in (part if isinstance(part, list) else [part])]
    return [(turn["role"], turn["content"]) for turn in said]


def test_a_trainer_that_is_none_is_wrong_usage(finetune: Finetune, table: Path) -> None:
    answer = finetune("plan", table, "--to", "torchtune", "--json")
    assert answer.code == 2
    assert "axolotl" in answer.json["error"]["fix"]


@pytest.mark.parametrize(
    ("words", "trainer"),
    [
        ("write me an axolotl config for tickets.csv", "axolotl"),
        ("Please give me a LLaMA-Factory yaml for tickets.csv", "llamafactory"),
        ("can you create an unsloth script for tickets.csv?", "unsloth"),
        ("I want the TRL configuration of tickets.csv", "trl"),
        ("tickets.csv trained with axolotl gives nan", None),
        ("why does my axolotl config for tickets.csv fail?", None),
        ("write me a plan for tickets.csv", None),
    ],
)
def test_the_chat_hears_who_shall_train(words: str, trainer: str | None) -> None:
    calls = reply([HumanMessage(words)]).tool_calls
    made = [each["args"] for each in calls if each["name"] == "plan" and "to" in each["args"]]
    out = f"tickets-{trainer}"
    assert made == ([{"data": "tickets.csv", "to": trainer, "out": out}] if trainer else [])


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    hand_over(plan(), "trl", tmp_path / "old")
    before = {file: file.read_bytes() for file in (tmp_path / "old").rglob("*") if file.is_file()}
    monkeypatch.setattr(os, "fsync", full)
    for name in ("new", "old"):
        with pytest.raises(UserError, match="No space"):
            hand_over(plan(max_length=99), "trl", tmp_path / name, overwrite=True)
    assert not (tmp_path / "new").exists()
    assert {file: file.read_bytes() for file in (tmp_path / "old").rglob("*") if file.is_file()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        hand_over(plan(), "trl", tmp_path / "file", overwrite=True)


def test_a_plan_without_validation_rows_leaves_none_of_an_older_one(tmp_path: Path) -> None:
    hand_over(plan(), "trl", tmp_path / "out")
    made = plan(select="last", patience=0)
    hand_over(Plan(made.spec, made.base, made.train, [], made.validation), "trl", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "held_out" / "test.jsonl").exists()
    hand_over(Plan(made.spec, made.base, made.train, []), "trl", tmp_path / "out", overwrite=True)
    assert not any((tmp_path / "out" / name).exists() for name in ("data/validation.jsonl", "held_out/test.jsonl"))
    assert "held_out" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert settings_of("trl", Plan(made.spec, made.base, made.train, []))["eval_strategy"] == "no"


ODD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@tries(max_examples=60)
@given(base=ODD, name=ODD)
@example(base="\x85", name="0")
def test_odd_names_stay_names(base: str, name: str) -> None:
    """Quotes, line breaks, braces, a YAML of its own: all of it data."""
    made = plan(base=base)
    data = made.spec.data.model_copy(update={"path": f"/x/{name}"})
    made = Plan(made.spec.model_copy(update={"data": data}), base, made.train, made.validation)
    for trainer in TRAINERS:
        found = settings_of(trainer, made)
        assert found.get("model_name_or_path", found.get("base_model", found.get("model_name"))) == base
        assert found["max_steps"] == 11
    assert yaml.safe_load(as_yaml(made, "trl", {"a": base}, "run", [name, f"x\n{name}: 1"])) == {"a": base}


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_their_own_parsers_read_it(trainer: Any, objective: str, tmp_path: Path) -> None:
    python = parsers.python_of(trainer)
    if python is None:
        pytest.skip(f"{trainer} is not set up: `make bench-parsers` does it")
    made = plan(base=str(tmp_path), method="dora", objective=objective)
    written = hand_over(made, trainer, tmp_path / "out")
    found = parsers.parsed(python, trainer, tmp_path / "out", Path(written["config"]).name)
    assert found["unknown"] == []
    assert sorted(found["rows"].values()) == [10, 50]
    ours = settings_of(trainer, made)
    same = {name: value for name, value in found["values"].items() if isinstance(ours.get(name), int | float | bool)}
    assert len(same) > 20
    assert same == {name: ours[name] for name in same}, "what was read is what was written"
    assert not found.get("lost")


@pytest.mark.parametrize("pairs", [False, True])
def test_trl_trains_with_it(finetune: Finetune, table: Path, tiny_model: Path, tmp_path: Path, pairs: bool) -> None:
    data = parsers.pairs(tmp_path / "pairs.jsonl") if pairs else table
    out = tmp_path / "out"
    made = finetune("plan", data, "--base-model", tiny_model, "--method", "dora", "--to", "trl", "-o", out, "--json")
    assert made.code == 0, made.err
    script = f"trl.scripts.{'dpo' if pairs else 'sft'}"
    assert made.json["written"]["command"] == f"trl {script[-3:]} --config trl.yaml"
    command = [sys.executable, "-P", "-m", script, "--config", "trl.yaml", "--use_cpu", "true", "--max_steps", "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((out / "output" / "adapter_config.json").read_text())["use_dora"] is True


def test_a_key_that_they_do_not_have_is_found(tmp_path: Path) -> None:
    """The check can fail."""
    written = hand_over(plan(base=str(tmp_path)), "trl", tmp_path / "out")
    with open(written["config"], "a", encoding="utf-8") as config:
        config.write("lora_rank: 3\n")
    with pytest.raises(ValueError, match="lora_rank"):
        parsers.parsed(str(parsers.python_of("trl")), "trl", tmp_path / "out", "trl.yaml")
