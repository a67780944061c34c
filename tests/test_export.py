"""Delivered models: equal ones pass, planted faults are caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer, chat_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.__main__ import main
from executor.errors import UserError
from executor.export.gate import Answers, gate, untested
from executor.export.modelfile import modelfile, turns_of
from executor.export.vllm import command_of
from executor.files import read_json, write_json
from executor.run_folder import RunFolder
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
    from transformers import AutoModelForCausalLM, AutoTokenizer

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
    assert not list(tmp_path.glob(".merged*")), "nothing half-made is left"
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
    from executor import stage_export

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
        text, why = modelfile(template, "model.gguf", rows)
        assert why == ""
        assert text.startswith("FROM ./model.gguf\nTEMPLATE")
        assert 'PARAMETER stop "<|im_end|>"' in text
        assert "{{-" not in text, "it would eat line ends"


def test_a_template_that_ollama_cannot_say_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    trimming = with_template(tmp_path, tiny_model, TRIMS)
    text, why = modelfile(trimming, "model.gguf", [[{"role": "user", "content": " spaces "}]])
    assert text == ""
    assert why == "Template: 1 of 1 prompts would differ in Ollama."
    odd = with_template(tmp_path, tiny_model, "{{ messages[-1].content }}")
    assert modelfile(odd, "m", [])[1].startswith("Template: it does not write turn after turn")


@given(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=5), st.booleans(), st.text(max_size=20))
def test_the_parts_of_a_template_put_together_are_the_template(
    tiny_model: Path, roles: list[str], led: bool, text: str
) -> None:
    template = ChatTemplate(tiny_model)
    turns = turns_of(template)
    assert turns is not None
    messages = [{"role": role, "content": text} for role in (["system"] if led else []) + roles]
    assert turns.render(messages) == template.render(messages, prompt=True)
