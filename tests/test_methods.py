"""Every training method through its whole run: trained, saved, loaded by plain libraries, answering as reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer, chat_rows

from executor.__main__ import main
from executor.files import read_json, read_jsonl
from executor.run_folder import RunFolder, all_runs
from executor.stage_train import Longest
from executor.train.checkpoint import checkpoints

NewRun = Callable[..., RunFolder]
METHODS: dict[str, dict[str, Any]] = {
    "qlora": {"method": "qlora"},
    "dora": {"method": "dora"},
    "rslora": {"lora": {"rslora": True, "r": 4, "alpha": 16}},
    "full": {"method": "full", "learning_rate": 1e-3},
}


def plain_model(run: RunFolder) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    spec = run.spec()
    dtype = getattr(torch, spec.train.dtype)
    if spec.train.method == "full":
        return AutoModelForCausalLM.from_pretrained(run.model, dtype=dtype)
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=dtype)
    return PeftModel.from_pretrained(base, str(run.adapter))


@pytest.mark.parametrize("name", METHODS)
def test_what_was_trained_answers_the_same_with_plain_libraries(name: str, new_run: NewRun) -> None:
    import torch
    from transformers import AutoTokenizer

    settings = {"steps": 30, "learning_rate": 2e-2, "batch_size": 16} | METHODS[name]
    run = new_run("go", evaluate={"systems": ("zero_shot",)}, **settings)
    assert main(str(run.path)) == 0, run.status()
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0] / 2
    folder = run.model if name == "full" else run.adapter
    assert (run.model.exists(), run.adapter.exists()) == (name == "full", name != "full")
    model, tokenizer = plain_model(run).eval(), AutoTokenizer.from_pretrained(folder)
    for line in read_jsonl(run.outputs("fine_tuned")):
        text = tokenizer.apply_chat_template(line["prompt"], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            out = model.generate(**ids, max_new_tokens=32, do_sample=False)
        said = tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert said.strip() == line["output"]
    config = read_json(folder / ("config.json" if name == "full" else "adapter_config.json"))
    assert config.get("use_dora", False) is (name == "dora")
    assert config.get("use_rslora", False) is (name == "rslora")


def test_qlora_trains_on_a_base_in_four_bits(new_run: NewRun) -> None:
    run = new_run(method="qlora", steps=2)
    assert main(str(run.path)) == 0, run.status()
    base = Path(read_json(run.adapter / "adapter_config.json")["base_model_name_or_path"])
    quantisation = read_json(base / "config.json")["quantization_config"]
    assert quantisation["bnb_4bit_quant_type"] == "nf4"
    assert quantisation["bnb_4bit_use_double_quant"] is True


@pytest.mark.parametrize("method", ["qlora", "dora", "full", "compiled"])
def test_a_stopped_run_of_any_method_goes_on_bit_for_bit(method: str, new_run: NewRun, tiny_model: Path) -> None:
    import torch

    from executor.errors import Interrupted
    from executor.prepare_model import in_four_bits
    from executor.template import ChatTemplate
    from executor.train.loop import train
    from executor.train.model import to_train

    def trained(run: RunFolder, stop_after: int | None) -> list[Any]:
        folder = in_four_bits(tiny_model, lambda _: None) if method == "qlora" else tiny_model
        model, spec, done = to_train(folder, run.spec()), run.spec(), [0]

        def report(step: int, *_: object) -> None:
            done[0] = step

        def stop() -> bool:
            return stop_after is not None and done[0] >= stop_after

        torch._dynamo.reset()  # as a new process: what was compiled for earlier lengths is forgotten
        train(model, run, spec, ChatTemplate(tiny_model), report, stop)
        return [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad]

    how = {"compile": True} if method == "compiled" else {"method": method}
    undisturbed, stopped = (new_run(steps=5, dtype="bfloat16", rows=chat_rows(56), **how) for _ in range(2))
    expected = trained(undisturbed, None)
    with pytest.raises(Interrupted):
        trained(stopped, 3)
    assert max(checkpoints(stopped.checkpoints))[0] == 3
    assert all(bool((a == b).all()) for a, b in zip(trained(stopped, None), expected, strict=True))


@pytest.mark.usefixtures("jobs_here")
def test_the_second_plan_rests_on_what_the_first_run_measured(
    finetune: Callable[..., Answer], table: Path, tiny_model: Path
) -> None:
    first = finetune("plan", table, "--base-model", tiny_model, "--no-measure", "--json").json["estimate"]
    done = finetune("train", table, "--base-model", tiny_model, "--json").json
    plan = finetune("plan", table, "--base-model", tiny_model, "--json").json["estimate"]
    assert first["basis"] != plan["basis"] == Path(done["run"]).name
    assert plan["seconds"]["expected"] == pytest.approx(done["metrics"]["seconds"], abs=0.06)
    assert plan["memory_bytes"]["expected"] == done["metrics"]["peak_memory_bytes"]
    assert plan["seconds"]["low"] < plan["seconds"]["expected"] < plan["seconds"]["high"]
    words = ("plan", table, "--base-model", tiny_model, "--method", "dora", "--no-measure", "--json")
    other = finetune(*words).json["estimate"]
    assert other["basis"] == first["basis"], "another method is not alike"


@pytest.mark.usefixtures("jobs_here")
def test_a_plan_measures_a_few_steps_where_no_run_told_what_they_take(
    finetune: Callable[..., Answer], table: Path, tiny_model: Path
) -> None:
    plan = finetune("plan", table, "--base-model", tiny_model, "--json")
    probe = all_runs()[0]
    assert plan.json["estimate"]["basis"] == probe.name
    found = probe.result()
    assert found is not None
    steps = plan.json["spec"]["train"]["steps"]
    expected = found["first_seconds"] + steps * found["step_seconds"]
    assert plan.json["estimate"]["seconds"]["expected"] == pytest.approx(expected, abs=0.002)
    assert plan.json["estimate"]["memory_bytes"]["expected"] == found["memory_bytes"]
    assert not (probe.path / "adapter").exists()
    again = finetune("plan", table, "--base-model", tiny_model, "--json").json
    assert (again["measured"], again["estimate"]["basis"]) == (True, probe.name), "once is enough"


@pytest.mark.usefixtures("jobs_here")
def test_a_method_can_be_named(finetune: Callable[..., Answer], table: Path, tiny_model: Path) -> None:
    plan = finetune("plan", table, "--base-model", tiny_model, "--method", "full", "--no-measure", "--json").json
    assert plan["spec"]["train"]["method"] == "full"
    assert plan["spec"]["train"]["learning_rate"] == 2e-5
    assert finetune("train", table, "--method", "magic").code == 2
    done = finetune("train", table, "--base-model", tiny_model, "--method", "qlora", "--json")
    assert done.code == 0
    assert RunFolder(Path(done.json["run"])).spec().train.method == "qlora"


def test_a_probe_takes_a_step_on_the_longest_rows(
    new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(kind="probe")
    rows = run.rows("train")
    longest = Longest(tmp_path, run, 3)
    assert sorted(map(len, map(str, longest.rows("train")))) == sorted(map(len, map(str, rows)))[-3:]
    assert longest.rows("validation") == longest.rows("replay") == []
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    monkeypatch.setattr("executor.stage_train.longest_step", lambda *_: 10**15)
    main(str(run.path))
    assert (run.summary("probe") or {})["memory_bytes"] == 10**15
