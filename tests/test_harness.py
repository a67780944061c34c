"""Tasks of lm-evaluation-harness as regression suites: a task of this test's own, no download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Answer

from executor.__main__ import main
from executor.errors import UserError
from executor.evaluate.harness import right_or_wrong
from executor.files import read_json, read_jsonl, write_jsonl
from executor.run_folder import RunFolder

NewRun = Callable[..., RunFolder]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task of choices whose data is on this disk."""
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install '.[harness]'")
    rows = [{"query": f"Number {n} comes before", "choices": [str(n + 1), "a fish"], "gold": n % 2} for n in range(12)]
    write_jsonl(tmp_path / "items.jsonl", rows)
    spec = {
        "task": "own_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "items.jsonl")}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{query}}",
        "doc_to_target": "gold",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(spec))
    return file


def test_a_named_task_is_one_of_the_suites(new_run: NewRun, task: Path) -> None:
    run = new_run("go", evaluate={"systems": ("zero_shot",), "suites": (), "harness": (str(task),)}, steps=1)
    assert main(str(run.path)) == 0
    found = read_json(run.path / "result.json")["regression"]["own_choice"]
    lines = read_jsonl(run.path / "suites" / "own_choice.jsonl")
    assert found["n"] == len(lines) == 12
    assert found["after"] == pytest.approx(sum(line["passed"] for line in lines) / 12)
    assert 0 < found["before"] < 1, "one of two choices is right, in turn"
    assert found["verdict"] in ("kept", "unclear", "lost")
    assert "own_choice" in (run.path / "report.md").read_text().replace("\\", "").replace(" ", "_")


def test_a_task_that_nobody_knows_ends_the_run_at_once(new_run: NewRun, task: Path) -> None:
    run = new_run("go", evaluate={"systems": ("zero_shot",), "suites": (), "harness": ("no_such_task",)}, steps=1)
    assert main(str(run.path)) == 3
    assert 'no task "no_such_task"' in run.status()["error"]["what"]
    assert run.summary("baselines") is None


def test_only_right_or_wrong_is_taken() -> None:
    def line(item: int, **scores: Any) -> dict[str, Any]:
        return {"doc_id": item, "filter": "none", "metrics": list(scores), **scores}

    assert right_or_wrong("t", [line(1, acc=0.0, acc_norm=1.0), line(0, acc=1.0, acc_norm=0.0)]) == [0.0, 1.0]
    with pytest.raises(UserError, match="right or wrong"):
        right_or_wrong("t", [line(0, bleu=0.3)])


def test_without_the_package_the_command_says_how_to_get_it(
    finetune: Callable[..., Answer], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.extras.find_spec", lambda name: None)
    answer = finetune("go", table, "--harness", "arc_easy", "--json")
    assert answer.code == 3
    assert "[harness]" in answer.json["error"]["fix"]
