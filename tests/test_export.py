"""Delivered models: equal ones pass, planted faults are caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from conftest import SYSTEM, Answer, chat_rows
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from executor import stage_export
from executor.__main__ import main
from executor.errors import UserError
from executor.export.gate import Answers, gate, retest, untested
from executor.export.gguf_file import by_llama_cpp
from executor.export.merge import merge
from executor.export.modelfile import Told, modelfile, turns_of
from executor.export.vllm import command_of
from executor.export_folder import strange
from executor.files import read_json, write_json
from executor.run_folder import RunFolder
from executor.spec import save_spec
from executor.template import ChatTemplate

NewRun = Callable[..., RunFolder]
ROWS = 100


def answers(right: int = ROWS) -> Answers:
    prompts = [[1, 5, row, 9] for row in range(ROWS)]
    return Answers(prompts, [f"a{row}" for row in range(ROWS)], [True] * ROWS, [1.0] * right + [0.0] * (ROWS - right))


def judged(after: Answers, form: str = "merged", before: Answers | None = None) -> dict[str, Any]:
    return gate(form, before or answers(), after, True, 1, None)


CONTRACT = {
    "prompts", "same_prompt_tokens", "same_outputs", "score_before", "score_after", "difference", "low", "high", "equal"
}  # fmt: skip
# The gate, with faults planted.


def test_the_same_is_equal() -> None:
    found = judged(answers())
    assert (found["equal"], found["reasons"]) == (True, [])
    assert (found["prompts"], found["same_prompt_tokens"], found["same_outputs"]) == (ROWS, ROWS, ROWS)
    assert (found["score_before"], found["score_after"], found["difference"]) == (1.0, 1.0, 0.0)
    assert found.keys() >= CONTRACT
    assert untested("why").keys() >= CONTRACT


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("Doubled BOS", replace(answers(), prompts=[[1, *prompt] for prompt in answers().prompts])),
        ("Template", replace(answers(), prompts=[[1, 5, 7, *prompt[2:]] for prompt in answers().prompts])),
        ("Template", replace(answers(), prompts=[prompt[:-1] for prompt in answers().prompts])),
        ("End of turn", replace(answers(), ended=[False] * ROWS, outputs=[f"a{row} and on" for row in range(ROWS)])),
        ("Rounding", replace(answers(), outputs=[*answers().outputs[:90], *["b"] * 10])),
    ],
)
def test_a_planted_fault_is_named(name: str, after: Answers) -> None:
    found = judged(after)
    assert found["equal"] is False
    assert len(found["reasons"]) == 1
    assert found["reasons"][0].startswith(name)


def test_a_quantised_form_may_lose_two_points_or_what_chance_explains() -> None:
    paired = replace(answers(), scores=[1.0] * 98 + [0.0] * 2)
    assert judged(paired, "q8_0")["low"] < 0
    assert judged(paired, "q8_0")["equal"], "the interval covers 0"
    assert not judged(answers(90), "q8_0")["equal"]


def test_near_ties_may_turn_and_quantised_forms_are_judged_by_their_score() -> None:
    turned = replace(answers(), outputs=[*answers().outputs[:98], "b", "b"])
    assert judged(turned, "bf16")["equal"]
    assert not judged(turned, "merged")["equal"]
    other = replace(answers(), outputs=["b"] * ROWS)
    assert judged(other, "q8_0")["equal"], "every answer reworded, as good as before"
    worse = replace(other, scores=answers(80).scores)
    assert judged(worse, "q4_0")["reasons"][0].startswith("Rounding: the score changed by -20.0 points")


# Files.


def tuned(new_run: NewRun, **more: Any) -> RunFolder:
    run = new_run("go", evaluate={"systems": ("zero_shot",), "suites": ()}, steps=4, **more)
    assert main(str(run.path)) == 0
    return run


def test_a_merged_model_answers_as_the_adapter_does(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None
) -> None:
    run, out = tuned(new_run), tmp_path / "merged"
    answer = finetune("export", run.name, "--to", "merged", "-o", out, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["target"] == "merged"
    assert answer.json["path"] == str(out)
    found = answer.json["equivalence"]
    assert found["same_prompt_tokens"] == found["prompts"] == 12
    assert found["equal"] is True
    assert read_json(out / "equivalence.json") == found
    assert AutoModelForCausalLM.from_pretrained(out).dtype.is_floating_point
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "merged"], "nothing half-made is left"
    assert strange(out) == "", "every file of it is known as an export's"
    assert read_json(out / "export.json")["system"] == SYSTEM
    told = (run.path / "report.md").read_text()
    assert "Delivered, and still the same?" in told
    assert "| merged | equal | 12 of 12 |" in told
    again = finetune("export", run.name, "--to", "merged", "-o", out, "--json")
    assert again.code == 3
    assert "is there already" in again.json["error"]["what"]


def test_an_unequal_export_says_why_and_leaves_the_adapter_as_it_was(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: the merged folder gets another template, as it happens on the way to a server."""
    run = tuned(new_run)
    before = {file: file.read_bytes() for file in run.adapter.iterdir()}
    honest = stage_export.merge

    def other_template(base: Path, adapter: Path, target: Path) -> Any:
        made = honest(base, adapter, target)
        text = (target / "chat_template.jinja").read_text()
        (target / "chat_template.jinja").write_text(text.replace("<|im_start|>", "<|im_start|> ", 1))
        return made

    monkeypatch.setattr(stage_export, "merge", other_template)
    answer = finetune("export", run.name, "--to", "merged", "-o", tmp_path / "out", "--json")
    assert answer.code == 1
    assert answer.json["equivalence"]["reasons"][0].startswith("Template:")
    assert {file: file.read_bytes() for file in run.adapter.iterdir()} == before


def stored_in_four_bits(base: Path, adapter: Path, target: Path) -> None:
    """As peft merges into the base that QLoRA trains on."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    four = AutoModelForCausalLM.from_pretrained(base, quantization_config=config, dtype=torch.bfloat16)
    PeftModel.from_pretrained(four, str(adapter)).merge_and_unload().save_pretrained(target)


def rounded_to_four_bits(base: Path, adapter: Path, target: Path) -> None:
    """The same with the weights unpacked again, so that no configuration tells of it."""
    merge(base, adapter, target)
    (file,) = target.glob("*.safetensors")
    found = load_file(file)
    for name, weight in found.items():
        if name.endswith("proj.weight"):
            packed, state = quantize_4bit(weight, quant_type="nf4")
            found[name] = dequantize_4bit(packed, state).to(weight.dtype)
    save_file(found, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("plant", "why"),
    [(stored_in_four_bits, "the merged model is stored quantised"), (rounded_to_four_bits, "14 of 14 merged modules")],
)
def test_an_adapter_merged_into_four_bits_is_named(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None,
    monkeypatch: pytest.MonkeyPatch, plant: Any, why: str,
) -> None:  # fmt: skip
    run = tuned(new_run)

    def planted(base: Path, adapter: Path, target: Path) -> Any:
        merge(base, adapter, target)
        for file in target.glob("*.safetensors"):
            file.unlink()
        return plant(base, adapter, target)

    monkeypatch.setattr(stage_export, "merge", planted)
    answer = finetune("export", run.name, "--to", "merged", "-o", tmp_path / "out", "--json")
    assert answer.code == 1, answer.err
    assert f"Merged into 4 bits: {why}" in " ".join(answer.json["equivalence"]["reasons"])


def test_qlora_is_merged_in_sixteen_bits_and_measured_against_the_model_in_four(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None
) -> None:
    run = tuned(new_run, method="qlora")
    answer = finetune("export", run.name, "--to", "merged", "-o", tmp_path / "out", "--json")
    found = answer.json["equivalence"]
    assert (found["prompts"], found["same_prompt_tokens"], found["same_outputs"]) == (12, 12, 12)
    assert found["retest"].keys() == {"difference", "low", "high", "p_value", "test"}
    assert "quantization_config" not in read_json(tmp_path / "out" / "config.json")


def test_a_score_lost_on_the_way_to_sixteen_bits_is_told() -> None:
    found = retest(answers(90), answers(60), True, None, None, [])
    assert found["equal"] is False
    assert found["reasons"][0].startswith("Base in 16 bits: it was trained on 4, and the score changed by -30.0 points")
    assert retest(answers(90), answers(89), True, None, None, [])["equal"]


def test_k_quants_need_their_program_and_use_it(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tuned(new_run)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = finetune("export", run.name, "--to", "gguf", "--quant", "q4_k_m", "-o", tmp_path / "out", "--json")
    assert answer.code == 3
    assert "llama-quantize on the PATH" in answer.json["error"]["what"]
    program = tmp_path / "llama-quantize"
    program.write_text("#!/bin/sh\necho 'unknown architecture' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match="llama-quantize failed: unknown architecture"):
        by_llama_cpp(tmp_path / "a.gguf", tmp_path / "b.gguf", "q4_k_m")
    program.write_text('#!/bin/sh\nprintf "%s %s" "$(/bin/cat "$1")" "$3" > "$2"\n')
    (tmp_path / "a.gguf").write_text("whole")
    by_llama_cpp(tmp_path / "a.gguf", tmp_path / "b.gguf", "q4_k_m")
    assert (tmp_path / "b.gguf").read_text() == "whole Q4_K_M"


def test_vllm_gets_a_command_and_its_limits_are_checked(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    write_json(config, {"r": 24, "use_dora": False, "modules_to_save": None})
    assert "--max-lora-rank 32 --lora-modules tuned=./adapter" in command_of(tmp_path, tmp_path / "base")
    for fault in ({"r": 1024}, {"r": 8, "use_dora": True}, {"r": 8, "modules_to_save": ["lm_head"]}):
        write_json(config, fault)
        with pytest.raises(UserError):
            command_of(tmp_path, tmp_path)


def with_template(folder: Path, model: Path, template: str) -> ChatTemplate:
    for file in model.iterdir():
        if file.name.startswith("tokenizer"):
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(template)
    return ChatTemplate(folder)


LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TRIMS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_modelfile_writes_prompts_as_training_did(tiny_model: Path, tmp_path: Path) -> None:
    rows = [row["messages"][:-1] for row in chat_rows()]
    for template in (ChatTemplate(tiny_model), with_template(tmp_path, tiny_model, LLAMA)):
        text, why = modelfile(template, "model.gguf", rows, Told(4096))
        assert why == ""
        assert text.startswith("FROM ./model.gguf\nTEMPLATE")
        assert 'PARAMETER stop "<|im_end|>"' in text
        assert "{{-" not in text, "it would eat line ends"
        assert "PARAMETER num_ctx 4096\n" in text, "Ollama cuts what is longer than its default"
        assert "PARAMETER repeat_penalty 1\n" in text
        assert "SYSTEM" not in text


def test_the_system_message_stands_in_the_modelfile_where_it_can_be_kept(tiny_model: Path) -> None:
    template = ChatTemplate(tiny_model)
    rows = [row["messages"][:-1] for row in chat_rows(2)]
    for system in (SYSTEM, 'Two lines\nand a "quote"'):
        text, why = modelfile(template, "model.gguf", rows, Told(9, system))
        assert why == ""
        assert f'\nSYSTEM """{system}"""\n' in text
    for system in ('a """ in it', "a\u00a0space that Ollama's reader drops"):
        text, why = modelfile(template, "model.gguf", rows, Told(9, system))
        assert why == ""
        assert "SYSTEM" not in text
        assert "# The system message cannot be written here unchanged" in text


def test_an_export_for_ollama_says_context_penalty_and_system_message(
    new_run: NewRun, finetune: Callable[..., Answer], tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion itself is left out: it needs a tokenizer that llama.cpp knows."""
    run, out = tuned(new_run, max_length=300), tmp_path / "out"

    def converted(job: Any, wish: Any, work: Path) -> dict[str, Any]:
        (work / "model.bf16.gguf").write_bytes(b"GGUF")
        return untested("converted elsewhere") | {"equal": True}

    monkeypatch.setattr(stage_export, "to_gguf_file", converted)
    monkeypatch.setattr(stage_export, "adds_start", lambda file: False)
    assert finetune("export", run.name, "--to", "ollama", "-o", out, "--json").code == 0
    text = (out / "Modelfile").read_text()
    assert f'SYSTEM """{SYSTEM}"""' in text
    assert "PARAMETER num_ctx 300\n" in text, "the training's max_length, above every prompt and answer here"
    assert "PARAMETER repeat_penalty 1\n" in text
    assert strange(out) == ""
    spec = run.spec()
    short = spec.model_copy(update={"train": spec.train.model_copy(update={"max_length": 16})})
    save_spec(short, run.path / "spec.yaml")
    assert finetune("export", run.name, "--to", "ollama", "-o", out, "--yes", "--json").code == 0
    context = int((out / "Modelfile").read_text().partition("num_ctx ")[2].split()[0])
    template = ChatTemplate(Path(spec.model.folder or ""))
    prompts = [len(template.prompt_ids(row["messages"][:-1])) for row in run.rows("test")]
    assert max(prompts) + 32 <= context < 300, "room for the longest prompt and its answer"


def test_a_start_token_stands_once_in_what_ollama_sends(tiny_model: Path, tmp_path: Path) -> None:
    template = with_template(tmp_path, tiny_model, "{{ bos_token }}" + LLAMA)
    template.special["bos_token"] = "<|begin_of_text|>"
    rows = [
        [{"role": "user", "content": "Hello"}],
        [{"role": "system", "content": "S"}, {"role": "user", "content": "H"}],
    ]
    text, why = modelfile(template, "model.gguf", rows, Told(4096))
    assert why == ""
    assert text.count("<|begin_of_text|>") == 1
    text, why = modelfile(template, "model.gguf", rows, Told(4096), begun=True)
    assert why == ""
    assert "<|begin_of_text|>" not in text, "Ollama adds it"
    assert modelfile(ChatTemplate(tiny_model), "model.gguf", rows, Told(9), begun=True)[1].startswith("Doubled BOS")


def test_a_template_that_ollama_cannot_say_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    trimming = with_template(tmp_path, tiny_model, TRIMS)
    text, why = modelfile(trimming, "model.gguf", [[{"role": "user", "content": " spaces "}]], Told(9))
    assert text == ""
    assert why == "Template: 1 of 1 prompts would differ in Ollama."
    odd = with_template(tmp_path, tiny_model, "{{ messages[-1].content }}")
    assert modelfile(odd, "m", [], Told(9))[1].startswith("Template: it does not write turn after turn")


@given(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=5), st.booleans(), st.text(max_size=20))
def test_the_parts_of_a_template_put_together_are_the_template(
    tiny_model: Path, roles: list[str], led: bool, text: str
) -> None:
    template = ChatTemplate(tiny_model)
    turns = turns_of(template)
    assert turns is not None
    messages = [{"role": role, "content": text} for role in (["system"] if led else []) + roles]
    assert turns.render(messages) == template.render(messages, prompt=True)
