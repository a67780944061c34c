"""The stages of a run: the whole job by a real run process, and what each stage does by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import KINDS, SYSTEM, Finished, chat_rows

from executor import stage_evaluate
from executor.__main__ import main
from executor.evaluate.score import make_scorer
from executor.evaluate.shots import Shots, choose
from executor.evaluate.statistics import interval
from executor.files import read_json, read_jsonl, sha256_rows
from executor.job import Job
from executor.run_folder import RunFolder
from executor.spec import DataSpec, load_spec, save_spec

NewRun = Callable[..., RunFolder]
FILES = (
    "spec.yaml", "env.json", "data.json", "data/train.jsonl", "data/validation.jsonl", "data/test.jsonl",
    "metrics.jsonl", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/tokenizer.json",
    "evaluation/zero_shot.jsonl", "evaluation/prompt.jsonl", "evaluation/few_shot.jsonl",
    "evaluation/fine_tuned.jsonl", "suites/arithmetic.jsonl", "report.html", "report.md", "status.json", "result.json",
)  # fmt: skip
GO = {
    "run",
    "decision",
    "scores",
    "comparison",
    "regression",
    "verdict",
    "verdict_reasons",
    "metrics",
    "report",
    "seconds",
}
SYSTEMS = ("zero_shot", "prompt", "few_shot", "fine_tuned")


def good(share: float, n: int = 200) -> dict[str, Any]:
    right = round(share * n)
    return {"task_accuracy": interval([1.0] * right + [0.0] * (n - right), binary=True)}


# The whole job, done once by a real run process.


def test_the_run_folder_is_whole(finished: Finished) -> None:
    assert [name for name in FILES if not (finished.run.path / name).is_file()] == []
    assert list((finished.run.path / "checkpoints").iterdir())
    hidden = list(finished.run.path.rglob(".*"))
    assert hidden == [], "nothing half-written"
    beside = {folder.name for folder in finished.home.iterdir()} - {"runs", "datasets"}
    assert not beside, "and nothing beside the runs and the versions of datasets"


def test_the_status_and_the_result_say_done(finished: Finished) -> None:
    status = finished.run.status()
    assert status.keys() >= {"state", "reason", "stage", "pid", "heartbeat"}
    assert (status["state"], status["reason"]) == ("done", None)
    assert finished.run.result() == finished.answer.json
    assert (finished.run.path / "result.json").stat().st_mtime >= (finished.run.path / "report.html").stat().st_mtime


def test_the_answer_has_the_keys_of_the_contract(finished: Finished) -> None:
    answer = finished.answer.json
    assert answer.keys() >= GO
    assert answer["verdict"] in ("ship", "do_not_ship", "inconclusive")
    assert finished.answer.code == (0 if answer["verdict"] == "ship" else 1)
    assert answer["verdict_reasons"]
    assert answer["decision"].keys() == {"approach", "confidence", "because", "missing", "next"}
    assert answer["scores"].keys() == set(SYSTEMS)
    for scores in answer["scores"].values():
        assert scores.keys() >= {"task_accuracy", "format_compliance", "style_match"}
        for score in scores.values():
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
            assert score["n"] == len(finished.run.rows("test"))
    assert answer["comparison"]["a"] == "fine_tuned"
    assert answer["comparison"]["b"] in SYSTEMS[:-1]
    assert all(suite["verdict"] in ("kept", "lost", "unclear") for suite in answer["regression"].values())
    assert Path(answer["report"]).is_file()


def test_the_data_is_recorded_by_its_content(finished: Finished) -> None:
    record = read_json(finished.run.path / "data.json")
    parts = {split: finished.run.rows(split) for split in ("train", "validation", "test")}
    assert record["version"] == finished.run.spec().data.version
    assert record["version"] == sha256_rows([row for rows in parts.values() for row in rows])
    assert {s: part["sha256"] for s, part in record["splits"].items()} == {s: sha256_rows(r) for s, r in parts.items()}
    assert record["lineage"]
    asked = {split: {row["messages"][-2]["content"] for row in rows} for split, rows in parts.items()}
    assert not asked["test"] & (asked["train"] | asked["validation"])
    assert sum(map(len, parts.values())) == 60


def test_versions_and_hardware_are_recorded(finished: Finished) -> None:
    recorded = read_json(finished.run.path / "env.json")
    assert {"torch", "transformers", "peft"} <= recorded["versions"].keys()
    assert all(recorded["versions"][name] for name in ("torch", "transformers", "peft"))
    assert recorded["hardware"]["memory"] > 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_answer_is_on_disk_with_its_prompt(system: str, finished: Finished) -> None:
    rows, lines = finished.run.rows("test"), read_jsonl(finished.run.outputs(system))
    assert [line["expected"] for line in lines] == [row["messages"][-1]["content"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert line.keys() >= {"prompt", "expected", "output", "scores"}
        if system == "prompt":
            assert line["prompt"][-1]["content"].startswith(row["messages"][-2]["content"])
            continue
        assert line["prompt"][-1] == row["messages"][-2], "the question comes last"
        assert line["prompt"][0] == row["messages"][0], "under the system message"
        assert (len(line["prompt"]) > 2) is (system == "few_shot")
    mean = sum(line["scores"]["task_accuracy"] for line in lines) / len(lines)
    assert finished.answer.json["scores"][system]["task_accuracy"]["value"] == pytest.approx(mean)


def test_few_shot_examples_come_from_the_training_rows_alone(finished: Finished) -> None:
    trained = {row["messages"][-2]["content"] for row in finished.run.rows("train")}
    for line in read_jsonl(finished.run.outputs("few_shot")):
        shown = [m["content"] for m in line["prompt"][1:-1] if m["role"] == "user"]
        assert shown
        assert set(shown) <= trained


def test_plain_peft_and_transformers_give_the_same_answers(finished: Finished) -> None:
    """Loaded as anyone would load it, every row answered by itself."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = finished.run.adapter
    config = json.loads((adapter / "adapter_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    dtype = getattr(torch, finished.run.spec().train.dtype)
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=dtype)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    lines = read_jsonl(finished.run.outputs("fine_tuned"))
    for line in lines:
        text = tokenizer.apply_chat_template(line["prompt"], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**ids, max_new_tokens=32, do_sample=False)
        said = tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert said.strip() == line["output"]
    untuned = [line["output"] for line in read_jsonl(finished.run.outputs("zero_shot"))]
    assert [line["output"] for line in lines] != untuned, "the adapter does something"


# Single stages, in this process.


def prewritten(run: RunFolder, **shares: float) -> None:
    """As if the baselines had been measured with these shares right."""
    run.finish("baselines", {"scores": {system: good(share) for system, share in shares.items()}, "comparison": None})


def test_what_prompting_already_does_is_not_trained(new_run: NewRun) -> None:
    run = new_run("go", evaluate={"target": 0.9})
    prewritten(run, zero_shot=0.5, few_shot=0.93)
    assert main(str(run.path)) == 0
    result = run.result()
    assert run.status()["state"] == "done"
    assert result is not None
    assert (result["verdict"], result["metrics"], result["decision"]["approach"]) == (None, None, "few_shot")
    assert "fine_tuned" not in result["scores"]
    assert not run.adapter.exists()
    assert not run.metrics_file.exists()
    assert Path(result["report"]).is_file()


def test_what_prompting_does_not_do_is_trained(new_run: NewRun) -> None:
    run = new_run("go", evaluate={"target": 0.9, "suites": (), "systems": ("zero_shot",)}, steps=2)
    assert main(str(run.path)) == 0
    result = run.result()
    assert result is not None
    assert result["scores"].keys() == {"zero_shot", "fine_tuned"}
    assert result["metrics"]["steps"] == 2
    assert result["regression"] == {}


def test_a_finished_stage_is_not_done_again(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the second system answers; afterwards only that one is asked."""
    asked: list[str] = []
    answer_rows = stage_evaluate.answer_rows

    def watched(job: Job, model: Any, system: str) -> None:
        asked.append(system)
        if len(asked) == 2:
            job.stop = lambda: True
        answer_rows(job, model, system)

    monkeypatch.setattr(stage_evaluate, "answer_rows", watched)
    run = new_run("compare")
    assert main(str(run.path)) == 130
    assert (run.status()["state"], run.status()["stage"]) == ("stopped", "baselines")
    assert [run.outputs(system).exists() for system in ("zero_shot", "few_shot")] == [True, False]
    assert main(str(run.path)) == 0
    assert asked == ["zero_shot", "few_shot", "few_shot"]
    assert main(str(run.path)) == 0
    assert len(asked) == 3


def test_comparing_measures_and_trains_nothing(new_run: NewRun) -> None:
    run = new_run("compare")
    assert main(str(run.path)) == 0
    result = run.result()
    assert result is not None
    assert result["comparison"]["metric"] == "task_accuracy"
    assert {result["comparison"]["a"], result["comparison"]["b"]} == {"zero_shot", "few_shot"}
    assert result["verdict"] is None
    assert not run.adapter.exists()


@pytest.fixture
def trained(new_run: NewRun) -> RunFolder:
    run = new_run(steps=1)
    assert main(str(run.path)) == 0
    return run


def test_an_adapter_is_evaluated_on_other_rows(trained: RunFolder, new_run: NewRun) -> None:
    evaluate = {"adapter": str(trained.adapter), "systems": ("zero_shot",)}
    run = new_run("evaluate", evaluate=evaluate)
    assert main(str(run.path)) == 0
    result = run.result()
    assert result is not None
    assert result["scores"].keys() == {"zero_shot", "fine_tuned"}
    assert result["decision"] is None
    assert result["regression"].keys() == {"arithmetic"}
    assert not run.adapter.exists(), "the adapter stays where it was trained"


def test_rows_that_were_trained_on_are_no_test(trained: RunFolder, new_run: NewRun) -> None:
    evaluate = {"adapter": str(trained.adapter), "systems": ("zero_shot",), "suites": ()}
    run = new_run("evaluate", rows=chat_rows(60)[:48] + chat_rows(5), evaluate=evaluate)
    assert main(str(run.path)) == 0
    result = run.result()
    assert result is not None
    assert result["verdict"] == "do_not_ship"
    assert "5 test rows were also trained on" in result["verdict_reasons"][0]


def test_a_training_alone_answers_with_its_metrics(trained: RunFolder) -> None:
    result = trained.result()
    assert result is not None
    assert result.keys() == {"run", "status", "metrics", "report"}
    config = read_json(trained.adapter / "adapter_config.json")
    assert Path(config["base_model_name_or_path"]).is_dir()


def test_the_users_prompt_takes_the_place_of_the_system_message(new_run: NewRun) -> None:
    run = new_run("compare", evaluate={"systems": ("zero_shot", "prompt")})
    spec = run.spec()
    data = spec.data.model_copy(update={"prompt": "Say which kind it is."})
    save_spec(spec.model_copy(update={"data": data}), run.path / "spec.yaml")
    assert main(str(run.path)) == 0
    for line in read_jsonl(run.outputs("prompt")):
        assert line["prompt"][0] == {"role": "system", "content": "Say which kind it is."}
        assert SYSTEM not in str(line["prompt"])


def test_a_spec_edited_to_nonsense_fails_in_one_line(new_run: NewRun) -> None:
    run = new_run()
    value = yaml.safe_load((run.path / "spec.yaml").read_text())
    value["train"]["lerning_rate"] = 1
    (run.path / "spec.yaml").write_text(yaml.safe_dump(value))
    assert main(str(run.path)) == 3
    assert 'Did you mean "learning_rate"?' in run.status()["reason"]


def test_the_spec_of_a_run_makes_the_same_run_again(finished: Finished) -> None:
    spec = load_spec(finished.run.path / "spec.yaml")
    assert spec.model.folder is not None
    assert Path(spec.model.folder).is_dir()
    assert Path(spec.data.path).is_file()
    assert spec.estimate is not None
    assert all(reason.reason for reason in spec.reasons.values())


# Scores and shots.


def scorer(kind: str, answers: list[str], labels: tuple[str, ...] = ()) -> Any:
    return make_scorer(DataSpec(path="/nowhere", version="0", kind=kind, labels=labels), answers)


def test_a_label_is_right_or_wrong_to_the_letter() -> None:
    score = scorer("label", ["red", "blue"], ("blue", "red"))
    assert score(" red\n", "red") == {"task_accuracy": 1.0, "format_compliance": 1.0, "style_match": 1.0}
    assert score("blue", "red")["task_accuracy"] == 0.0
    assert score("blue", "red")["format_compliance"] == 1.0
    for wrong in ("Red", "red.", "It is red", ""):
        assert score(wrong, "red")["task_accuracy"] == score(wrong, "red")["format_compliance"] == 0.0
    assert score.binary


def test_json_is_compared_by_its_value() -> None:
    score = scorer("json", ['{"a": 1, "b": [2]}', '{"a": 3}'])
    assert score('{"b": [2], "a": 1}', '{"a": 1, "b": [2]}')["task_accuracy"] == 1.0
    assert score('{"a": 2}', '{"a": 1}')["task_accuracy"] == 0.0
    assert score('{"a": 2}', '{"a": 1}')["format_compliance"] == 1.0
    assert score('{"z": 2}', '{"a": 1}')["format_compliance"] == 0.0
    assert score('Sure! {"a": 1}', '{"a": 1}') | {"style_match": 0} == {
        "task_accuracy": 0.0, "format_compliance": 0.0, "style_match": 0, "field_f1": 0.0,
    }  # fmt: skip


def test_text_is_scored_by_overlap_and_a_runaway_is_not_well_formed() -> None:
    score = scorer("text", ["The card arrives on Monday.", "Please write to the bank."])
    assert not score.binary
    near, far = score("The card arrives on Tuesday.", "The card arrives on Monday."), score("No.", "The card arrives.")
    assert 0 < far["task_accuracy"] < near["task_accuracy"] < 1
    assert score("The card arrives on Monday.", "The card arrives on Monday.")["task_accuracy"] == 1.0
    assert score("", "anything")["format_compliance"] == 0.0
    assert score("again and " * 50, "anything")["format_compliance"] == 0.0


def test_shots_show_as_many_answers_as_possible_and_repeat_themselves() -> None:
    rows = chat_rows()
    shown = choose(rows, 6, seed=0)
    answers = [row["messages"][-1]["content"] for row in shown]
    assert {kind: answers.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 2)
    assert choose(rows, 6, seed=0) == shown != choose(rows, 6, seed=1)
    assert len(choose(rows[:2], 6, seed=0)) == 2


def test_shots_stand_between_the_system_message_and_the_question() -> None:
    prompt = chat_rows()[50]["messages"][:-1]
    messages = Shots(chat_rows()[:40], shots=3, seed=0).messages(prompt)
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert (messages[0], messages[-1]) == (prompt[0], prompt[-1])
