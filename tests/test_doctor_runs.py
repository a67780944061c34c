"""The doctor on runs of ours: each fault is planted in a real training of the tiny model and named first."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Answer, chat_rows
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from executor.__main__ import main
from executor.files import write_jsonl
from executor.run_folder import RunFolder
from executor.spec import ModelSpec, save_spec
from knowledge.load import causes, run_signs, sources
from tools.diagnose import DIAGNOSE, DiagnoseResult
from tools.run_record import RunRecord
from tools.run_signs import SIGNS

NewRun = Callable[..., RunFolder]
CALM = {"steps": 12, "evaluate_every": 4, "watched_rows": 0, "select": "eval_loss", "learning_rate": 2e-3}


@pytest.fixture
def trained(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunFolder]:
    """A training from spec to report in this process; a refusal leaves its reason in the run's status."""
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)

    def train(model: Path | None = None, **wish: Any) -> RunFolder:
        run = new_run(**(CALM | wish))
        folder = str(model or run.spec().model.folder)
        named = ModelSpec(name="tiny", source="folder", folder=folder, parameters=100_000)
        save_spec(run.spec().model_copy(update={"model": named}), run.path / "spec.yaml")
        with open(run.log_file, "w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            main(str(run.path))
        return run

    return train


def doctor(run: RunFolder) -> DiagnoseResult:
    return DIAGNOSE.call(symptom=str(run.path))


def first(run: RunFolder) -> str:
    found = doctor(run).diagnoses
    return found[0].cause_class if found else "nothing"


def changed(tiny_model: Path, folder: Path, template: str | None = None, scale: float = 1.0) -> Path:
    shutil.copytree(tiny_model, folder)
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if scale != 1:
        weights = load_file(folder / "model.safetensors")
        weights["model.layers.1.mlp.up_proj.weight"] *= scale
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edited(rows: list[dict[str, Any]], **turn: Any) -> list[dict[str, Any]]:
    return [{**row, "messages": [*row["messages"][:-1], {**row["messages"][-1], **turn}]} for row in rows]


def asking(rows: list[dict[str, Any]], write: Callable[[str], str]) -> list[dict[str, Any]]:
    return [
        {"messages": [m if m["role"] != "user" else {**m, "content": write(m["content"])} for m in row["messages"]]}
        for row in rows
    ]


def test_a_healthy_run_is_found_healthy(trained: Callable[..., RunFolder]) -> None:
    result = doctor(trained())
    assert result.diagnoses == []
    assert result.text().startswith("Nothing wrong found in this run's own record")
    assert {"the spec", "the mask's proof", "the training rows", "the losses", "the validation losses"} <= set(
        result.looked_at
    )


@pytest.mark.parametrize("rate", [5.0, 100.0])
def test_a_rate_too_high(trained: Callable[..., RunFolder], rate: float) -> None:
    run = trained(learning_rate=rate, max_grad_norm=1e6)
    result = doctor(run)
    assert result.diagnoses[0].cause_class == "learning_rate"
    assert "too high" in result.diagnoses[0].cause
    assert "times the advised" in result.diagnoses[0].evidence


def test_a_rate_too_low(trained: Callable[..., RunFolder]) -> None:
    result = doctor(trained(learning_rate=1e-7))
    assert result.diagnoses[0].cause_class == "learning_rate"
    assert "too low" in result.diagnoses[0].cause


@pytest.mark.parametrize("allowed", [True, False])
def test_labels_all_masked(trained: Callable[..., RunFolder], allowed: bool) -> None:
    rows = edited(chat_rows(), weight=0)
    assert first(trained(rows=rows, allow=("untrained",) if allowed else ())) == "labels_masking"


@pytest.mark.parametrize("allowed", [True, False])
def test_max_length_too_short(trained: Callable[..., RunFolder], allowed: bool) -> None:
    allow = ("too_long", "untrained", "endless") if allowed else ()
    assert first(trained(max_length=48, allow=allow)) == "truncation_length"


FOREIGN = (
    "{% for m in messages %}[INST] {{ m.content }} [/INST]<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}[INST] {% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
ENDLESS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("template", [FOREIGN, PLAIN])
def test_a_template_of_another_model(
    trained: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path, template: str, allowed: bool
) -> None:
    run = trained(model=changed(tiny_model, tmp_path / "model", template), allow=("endless",) if allowed else ())
    assert first(run) == "chat_template"


def test_rows_that_stand_in_a_template_already(trained: Callable[..., RunFolder]) -> None:
    run = trained(rows=asking(chat_rows(), lambda text: f"<|im_start|>user\n{text}<|im_end|>"))
    assert first(run) == "chat_template"


def test_an_adapter_saved_with_another_template(trained: Callable[..., RunFolder]) -> None:
    run = trained()
    (run.adapter / "chat_template.jinja").write_text(FOREIGN, encoding="utf-8")
    assert first(run) == "chat_template"


@pytest.mark.parametrize("allowed", [True, False])
def test_no_end_of_turn(trained: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path, allowed: bool) -> None:
    run = trained(model=changed(tiny_model, tmp_path / "model", ENDLESS), allow=("endless",) if allowed else ())
    assert first(run) == "eos_or_padding"


def test_no_gradient(trained: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser's input is cleared before each step: nothing that the loss says arrives."""
    monkeypatch.setattr("executor.train.step.World.add_up", lambda self, tensor: tensor.zero_())
    assert first(trained()) == "gradient_flow"


def test_an_overflow_in_float16(trained: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path) -> None:
    large = changed(tiny_model, tmp_path / "model", scale=1e6)
    assert first(trained(model=large, dtype="float16")) == "precision_overflow"


def memorised(run: RunFolder, start: bool) -> None:
    lines: list[dict[str, float]] = [{"step": 0, "eval_loss": 3.0}] if start else []
    for step in range(1, 41):
        lines.append({"step": step, "loss": 3 * 0.85**step, "grad_norm": 1.0, "learning_rate": 1e-3})
        lines += [{"step": step, "eval_loss": 1.0 + abs(step - 10) / 12}] if step % 5 == 0 and step >= 10 else []
    write_jsonl(run.metrics_file, lines)


@pytest.mark.parametrize("start", [True, False])
def test_over_fitting_in_the_curves(trained: Callable[..., RunFolder], start: bool) -> None:
    run = trained()
    memorised(run, start)
    result = doctor(run)
    assert result.diagnoses[0].cause_class == "overfitting"
    assert "validation loss 1 at best" in result.diagnoses[0].evidence


def test_repeated_and_contradicting_rows(trained: Callable[..., RunFolder]) -> None:
    rows = chat_rows(20)
    twice = [*rows, *asking(rows, lambda text: f"{text} !")]
    found = doctor(trained(rows=twice))
    assert found.diagnoses[0].cause_class == "data_quality"
    assert "repeat" in found.diagnoses[0].evidence
    other = [*rows, *edited(asking(rows, lambda text: f"{text} !"), content="tool")]
    found = doctor(trained(rows=other))
    assert found.diagnoses[0].cause_class == "data_quality"
    assert "answer otherwise" in found.diagnoses[0].evidence


def test_rows_that_the_preparation_left_out_count(trained: Callable[..., RunFolder]) -> None:
    run = trained()
    record = json.loads((run.path / "data.json").read_text(encoding="utf-8"))
    record["lineage"] = [{"step": "conflicts", "rows_in": 100, "rows_out": 80, "lines": []}]
    (run.path / "data.json").write_text(json.dumps(record), encoding="utf-8")
    assert "20% of the data's rows" in doctor(run).diagnoses[0].evidence


@pytest.mark.parametrize("modules", [("c_attn",), ("k_proj",)])
def test_wrong_target_modules(trained: Callable[..., RunFolder], modules: tuple[str, ...]) -> None:
    run = trained(lora={"target_modules": modules})
    assert first(run) == "target_modules"
    if modules == ("c_attn",):
        error = json.loads((run.path / "status.json").read_text(encoding="utf-8"))["error"]
        assert error["what"] == "Target modules c_attn not found in the base model"
        assert "down_proj" in error["fix"]


def test_from_the_command_line(finetune: Callable[..., Answer], trained: Callable[..., RunFolder]) -> None:
    run = trained(rows=edited(chat_rows(), weight=0), allow=("untrained",))
    found = finetune("doctor", run.name, "--json").json["diagnoses"][0]
    assert found["cause_class"] == "labels_masking"
    assert found["sources"]


def test_every_sign_has_its_row_its_cause_and_its_source() -> None:
    known = {cause.id for cause in causes()}
    assert {sign.__name__ for sign in SIGNS} == run_signs().keys()
    for row in run_signs().values():
        assert row.cause in known
        assert row.source
        assert set(row.source) <= sources().keys()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(JUNK, JUNK, JUNK, JUNK, st.binary(max_size=40))
def test_a_broken_record_never_raises(
    tmp_path_factory: pytest.TempPathFactory, a: Any, b: Any, c: Any, d: Any, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("run")
    base = folder / "base"
    proof = {"rows": 10, "faults": {"endless": a, "too_long": b}, "tokens": c, "trained_tokens": d, "cut_replies": a}
    files: dict[str, Any] = {
        "spec.yaml": {
            "train": {"learning_rate": b, "dtype": c, "max_length": a}, "lora": {"target_modules": d},
            "model": {"folder": str(base), "parameters": a},
        },
        "examples.json": {"train": proof if a != b else {"rows": a, "faults": b}},
        "data.json": {"lineage": [a, {"step": b, "rows_in": c, "rows_out": d}]},
        "status.json": {"state": "failed", "reason": a, "error": b, "pid": c, "started": d},
        "env.json": {"versions": c},
        "stages/train.json": {"sweep": {"chosen": a}},
        "base/config.json": {"pad_token_id": a, "eos_token_id": b, "hidden_size": c},
        "base/tokenizer_config.json": {"pad_token": a, "eos_token": a, "chat_template": b},
        "base/tokenizer.json": {"added_tokens": a, "model": {"vocab": b}},
        "data/train.jsonl": {"messages": [a, {"role": "user", "content": b}]},
        "evaluation/fine_tuned.jsonl": {"output": a, "expected": b},
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    lines = [{"loss": a, "grad_norm": b, "learning_rate": c}, {"eval_loss": c}, {"loss": d}, {"eval_loss": a}, d]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name in ("adapter/adapter_model.safetensors", "base/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(struct.pack("<Q", len(junk)) + junk)
    DIAGNOSE.call(symptom=str(folder)).text()


def spec_alone(folder: Path, **train: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(json.dumps({"train": train}), encoding="utf-8")
    (folder / "status.json").write_text(json.dumps({"state": "done"}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("train", "losses", "expected"),
    [
        ({"dtype": "fp16"}, [2.0, 1.9, math.nan], "precision_overflow"),
        ({"dtype": "bfloat16", "learning_rate": 0.05}, [2.0, 1.9, math.nan], "learning_rate"),
        ({"learning_rate": 2e-4}, [0.0] * 5, "labels_masking"),
        ({"learning_rate": 1e-7}, [2.0, 1.99, 2.0, 1.99, 1.98, 1.98], "learning_rate"),
        ({"learning_rate": 2e-4}, [2.0, 1.5, 1.0, 0.6, 0.4, 0.3], "nothing"),
    ],
)
def test_a_record_of_spec_and_losses_alone(
    tmp_path: Path, train: dict[str, Any], losses: list[float], expected: str
) -> None:
    folder = spec_alone(tmp_path / "run", **train)
    lines = [{"step": n, "loss": str(x) if math.isnan(x) else x} for n, x in enumerate(losses)]
    write_jsonl(folder / "metrics.jsonl", lines)
    assert first(RunFolder(folder)) == expected


def test_a_pad_token_that_was_made_the_end_token(
    trained: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    model = changed(tiny_model, tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "<|im_end|>"}), encoding="utf-8")
    result = doctor(trained(model=model))
    assert result.diagnoses[0].cause_class == "eos_or_padding"
    assert "although the model has one of its own" in result.diagnoses[0].evidence


def test_a_stopped_run_is_no_failure_and_a_killed_one_is(trained: Callable[..., RunFolder]) -> None:
    run = trained()
    run.set_status("stopped", reason="Stopped as asked. Resume with `finetune train --resume x`.")
    assert doctor(run).diagnoses == []
    run.set_status("running", pid=2**22 + 1, started=1.0)
    assert "Nothing wrong" not in doctor(run).text()


def test_losses_that_json_does_not_know_are_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": "nan"}])
    found = RunRecord(tmp_path).losses()
    assert found[0] == 2
    assert math.isnan(found[1])
    assert torch.tensor(found).isnan().sum() == 1
