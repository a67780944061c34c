"""What was tried and what it gave: two runs beside each other, notes that come back, and the learning curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Answer, chat_rows, pair_rows, write_examples

from executor.__main__ import main
from executor.files import read_json, read_jsonl
from executor.run_folder import RunFolder
from executor.spec import save_spec
from executor.stage_curve import doubled

NewRun = Callable[..., RunFolder]
Finetune = Callable[..., Answer]


@pytest.fixture
def two(new_run: NewRun) -> tuple[RunFolder, RunFolder]:
    """Two whole runs on the same rows that differ in their learning rate and steps."""
    evaluate = {"systems": ("zero_shot",), "suites": ()}
    runs = [
        new_run("go", evaluate=evaluate, steps=steps, learning_rate=rate) for steps, rate in ((1, 1e-4), (12, 5e-3))
    ]
    for run in runs:
        assert main(str(run.path)) == 0
    return runs[0], runs[1]


def test_two_runs_tell_what_was_changed_and_what_it_gave(two: tuple[RunFolder, RunFolder], finetune: Finetune) -> None:
    a, b = two
    found = finetune("runs", "diff", a.name, b.name, "--json").json["diff"]
    changed = {row["key"]: (row["a"], row["b"]) for row in found["settings"]}
    assert changed == {"train.learning_rate": (1e-4, 5e-3), "train.steps": (1, 12)}
    assert found["data"] == {"same_rows": True, "same_test": True}
    assert found["metric"] == ["label", "label"]
    scores = {row["system"]: row for row in found["scores"]}
    assert scores["zero_shot"]["comparison"]["difference"] == 0.0
    pair = scores["fine_tuned"]["comparison"]
    assert (pair["a"], pair["b"], pair["n"]) == (b.name, a.name, 12)
    assert {row["key"] for row in found["metrics"]} >= {"eval_loss", "steps"}
    said = finetune("runs", "diff", a.name, b.name).out
    assert "train.learning_rate: 0.0001 → 0.005" in said
    assert "zero_shot" in said


def test_other_test_rows_are_not_paired(new_run: NewRun, finetune: Finetune) -> None:
    evaluate = {"systems": ("zero_shot",), "suites": ()}
    runs = [new_run("compare", rows=chat_rows(count), evaluate=evaluate) for count in (60, 58)]
    for run in runs:
        assert main(str(run.path)) == 0
    found = finetune("runs", "diff", runs[0].name, runs[1].name, "--json").json["diff"]
    assert found["data"]["same_test"] is False
    assert "comparison" not in found["scores"][0]


def test_the_same_spec_data_and_seed_give_the_same_scores(new_run: NewRun, finetune: Finetune) -> None:
    """On a CPU, to the last bit."""
    runs = [new_run("go", evaluate={"suites": ("arithmetic",)}, steps=4) for _ in range(2)]
    for run in runs:
        assert main(str(run.path)) == 0
    one, other = (run.result() for run in runs)
    for key in ("scores", "comparison", "regression", "verdict", "neutral_loss", "slices"):
        assert one[key] == other[key], key
    found = finetune("runs", "diff", runs[0].name, runs[1].name, "--json").json["diff"]
    assert found["settings"] == []


def test_a_note_is_shown_and_comes_back_when_the_data_is_planned_again(
    finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None
) -> None:
    data = write_examples(tmp_path / "things.csv")
    base = ("--base-model", tiny_model)
    name = Path(finetune("compare", data, "--systems", "zero_shot", *base, "--json").json["run"]).name
    noted = finetune("runs", "note", name, "Fewer labels would help.\x1b[2J", "--json")
    assert noted.code == 0
    assert noted.json["run"]["notes"][0]["text"].startswith("Fewer labels")
    assert finetune("runs", "--json").json["runs"][0]["notes"]
    planned = finetune("plan", data, *base, "--no-measure")
    assert f"Noted on run `{name}`: Fewer labels would help." in planned.out
    assert "\x1b" not in planned.out
    assert finetune("runs", "note", name, " ").code == 2


def test_runs_on_different_bases_are_not_evaluated_against_each_other(new_run: NewRun, finetune: Finetune) -> None:
    runs = [new_run(steps=1) for _ in range(2)]
    for run in runs:
        assert main(str(run.path)) == 0
    spec = runs[1].spec()
    model = spec.model.model_copy(update={"name": "another"})
    save_spec(spec.model_copy(update={"model": model}), runs[1].path / "spec.yaml")
    words = ("--data", runs[0].data / "test.jsonl", "--against", runs[1].name)
    answer = finetune("evaluate", runs[0].name, *words, "--json")
    assert answer.code == 3
    assert "was trained on another" in answer.json["error"]["what"]


# Would more data help?


def test_parts_of_the_rows_are_trained_and_measured_too(new_run: NewRun) -> None:
    run = new_run("go", evaluate={"systems": ("zero_shot",), "suites": ()}, steps=8)
    spec = run.spec()
    save_spec(spec.model_copy(update={"stages": (*spec.stages[:-1], "curve", "report")}), run.path / "spec.yaml")
    assert main(str(run.path)) == 0
    found = read_json(run.path / "result.json")["learning_curve"]
    assert [point["rows"] for point in found["points"]] == [10, 20, 40]
    assert [read_json(run.path / "curve" / name / "point.json")["rows"] for name in ("0.25", "0.5")] == [10, 20]
    assert found["points"][-1]["value"] == run.result()["scores"]["fine_tuned"]["task_accuracy"]["value"]  # type: ignore[index]
    assert found["next"]["rows"] == 80
    steps = [line["step"] for line in read_jsonl(run.path / "curve" / "0.5" / "metrics.jsonl") if "loss" in line]
    assert steps == [1, 2, 3, 4, 5], "as many passes: 3 steps where all rows take 5"
    assert not (run.path / "curve" / "0.5" / "checkpoints").exists()
    assert "Would more data help?" in (run.path / "report.md").read_text()


def test_parts_of_preference_rows_are_trained_too(new_run: NewRun) -> None:
    """Each part has log-probabilities of the starting model of its own."""
    evaluate = {"systems": ("zero_shot",), "suites": ()}
    run = new_run("go", rows=pair_rows(), evaluate=evaluate, objective="dpo", steps=4)
    spec = run.spec()
    save_spec(spec.model_copy(update={"stages": (*spec.stages[:-1], "curve", "report")}), run.path / "spec.yaml")
    assert main(str(run.path)) == 0
    assert [point["rows"] for point in read_json(run.path / "result.json")["learning_curve"]["points"]] == [10, 20, 40]


def points(*shares: float, n: int = 400) -> list[dict[str, Any]]:
    """The first `share` of n test rows right, at 100, 200 and 400 training rows."""
    return [
        {"rows": rows, "values": [1.0] * round(share * n) + [0.0] * (n - round(share * n))}
        for rows, share in zip((100, 200, 400), shares, strict=True)
    ]


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ((0.4, 0.6, 0.75), "would probably help"),
        ((0.8, 0.8, 0.8), "would hardly help"),
        ((0.9, 0.8, 0.7), "would hardly help"),
    ],
)
def test_the_curve_is_read_as_a_person_would(shares: tuple[float, ...], says: str) -> None:
    found = doubled(points(*shares), useful=0.05)
    assert found["says"] == says
    assert found["low"] <= found["value"] <= found["high"]
    assert found["rows"] == 800


def test_a_power_law_is_continued() -> None:
    """Errors of 0.4, 0.3 and 0.225 fall by a quarter with each doubling."""
    found = doubled(points(0.6, 0.7, 0.775), useful=0.05)
    assert found["value"] == pytest.approx(1 - 0.225 * 0.75, abs=0.005)
    assert np.isfinite(doubled(points(1.0, 1.0, 1.0), useful=0.05)["value"])
