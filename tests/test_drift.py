"""A model in use, asked the rows that it was measured with again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Server, serving
from conftest import Answer, Finished, write_examples
from hypothesis import given
from hypothesis import strategies as st

from executor.evaluate.drift import drift_of
from executor.files import read_jsonl
from executor.report import build
from executor.report.folder import read_run

Finetune = Callable[..., Answer]


def exact(output: str, expected: str) -> dict[str, float]:
    return {"task_accuracy": float(output == expected)}


def line(number: int, output: str, expected: str = "yes") -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": f"Question {number}?"}], "expected": expected, "output": output}


def test_the_same_answers_are_no_drift_and_worse_ones_are() -> None:
    before = [line(number, "yes") for number in range(40)]
    same = drift_of(before, before, exact, True)
    assert same is not None
    assert (same["dropped"], same["changed_answers"], same["difference"]) == (False, 0, 0)
    worse = drift_of(before, [line(number, "no" if number < 20 else "yes") for number in range(40)], exact, True)
    assert worse is not None
    assert (worse["dropped"], worse["changed_answers"], worse["difference"]) == (True, 20, -0.5)
    assert worse["high"] < 0
    assert worse["changed"][0] == {
        "row": 1, "prompt": line(0, "")["prompt"], "expected": "yes", "before": "yes", "now": "no",
        "score_before": 1.0, "score_now": 0.0,
    }  # fmt: skip
    better = drift_of([line(number, "no") for number in range(40)], before, exact, True)
    assert better is not None
    assert (better["dropped"], better["changed_answers"]) == (False, 40)


def test_one_lost_row_may_be_chance_and_other_rows_are_not_compared() -> None:
    before = [line(number, "yes") for number in range(40)]
    found = drift_of(before, [line(0, "no"), *before[1:], line(99, "no")], exact, True)
    assert found is not None
    assert (found["dropped"], found["changed_answers"]) == (False, 1)
    assert (found["rows"], found["rows_not_there"]) == (40, 1)
    assert drift_of(before, [line(99, "yes")], exact, True) is None
    assert drift_of([line(1, "a"), line(1, "b")], [line(1, "a"), line(1, "b")], exact, True)["changed_answers"] == 0  # type: ignore[index]


@given(st.lists(st.tuples(st.sampled_from(["yes", "no", ""]), st.sampled_from(["yes", "no"])), min_size=2, max_size=30))
def test_what_is_told_is_what_is_counted(answers: list[tuple[str, str]]) -> None:
    before = [line(number, old) for number, (old, _) in enumerate(answers)]
    now = [line(number, new) for number, (_, new) in enumerate(answers)]
    found = drift_of(before, now[::-1], exact, True)
    assert found is not None
    right = [sum(each["output"] == "yes" for each in part) for part in (before, now)]
    assert found["difference"] == pytest.approx((right[1] - right[0]) / len(answers))
    assert found["changed_answers"] == sum(old != new for old, new in answers)
    assert found["low"] <= found["difference"] <= found["high"]
    assert not (found["dropped"] and right[1] >= right[0])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def test_a_server_is_watched_from_a_schedule(
    server: Server, finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None
) -> None:
    data = write_examples(tmp_path / "things.csv")
    words = ("evaluate", "--endpoint", server.url, "--model", "m", "--data", data, "--since")
    first = finetune(*words, "last", "--base-model", tiny_model)
    assert first.code == 0, first.err
    assert first.out.count("\n") == 1
    assert "this is the reference" in first.out
    assert "100.0%" in first.out
    again = finetune(*words, "last")
    assert again.code == 0, again.err
    assert again.out.count("\n") == 1
    assert "no drift" in again.out
    assert "0 answers changed" in again.out
    server.always = (200, server.reply("fruit"))
    worse = finetune(*words, "last", "--json")
    assert worse.code == 1, worse.err
    assert worse.json.keys() >= {
        "run", "scores", "comparison", "regression", "verdict", "verdict_reasons", "report", "drift",
    }  # fmt: skip
    drift = worse.json["drift"]
    assert drift["dropped"]
    assert drift["before"]["value"] == 1.0
    assert drift["now"]["value"] == pytest.approx(1 / 3)
    assert drift["changed_answers"] == drift["rows"] * 2 / 3
    assert drift["difference"] == pytest.approx(-2 / 3)
    assert worse.json["verdict"] is None
    kept = read_jsonl(Path(worse.json["run"]) / "drift.jsonl")
    assert len(kept) == drift["changed_answers"]
    assert {(row["score_before"], row["score_now"], row["now"]) for row in kept} == {(1.0, 0.0, "fruit")}
    told = (Path(worse.json["run"]) / "report.md").read_text(encoding="utf-8")
    assert "Dropped" in told
    assert "Task accuracy went from 100.0 % to 33.3 %" in told
    # the newest evaluation is the bad one by now: beside it nothing changed, beside the first it did
    assert finetune(*words, "last").code == 0
    dropped = finetune(*words, "first")
    assert dropped.code == 1
    assert "m: dropped since" in dropped.out
    assert dropped.out.count("\n") == 1


def test_other_rows_and_other_runs_are_refused_before_anything_is_asked(
    server: Server, finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None, new_run: Any
) -> None:
    data = write_examples(tmp_path / "things.csv")
    words = ("evaluate", "--endpoint", server.url, "--model", "m", "--base-model", tiny_model, "--json")
    first = finetune(*words, "--data", data, "--since", "last").json["run"]
    asked = len(server.asked)
    other = tmp_path / "other.csv"
    other.write_text("message,kind\n" + "".join(f"a thing number {n},{'ab'[n % 2]}\n" for n in range(30)))
    for since, file, says in (
        (first, other, "none of these rows"),
        (new_run().path, data, "no answers of this model"),
        ("nothing", data, 'No run "nothing"'),
    ):
        answer = finetune(*words, "--data", file, "--since", since)
        assert answer.code == 3, answer.out
        assert says in answer.json["error"]["what"]
    assert finetune(*words, "--data", data, "--since", "last", "--against", first).code == 2
    assert len(server.asked) == asked


def test_a_tuned_run_is_held_against_its_own_answers(finetune: Finetune, finished: Finished, jobs_here: None) -> None:
    run = finished.run.path
    answer = finetune("evaluate", run, "--data", run / "data" / "test.jsonl", "--since", run, "--json")
    assert answer.code == 0, answer.err
    drift = answer.json["drift"]
    assert (drift["since"], drift["changed_answers"], drift["dropped"]) == (str(run), 0, False)
    assert drift["rows"] == len(finished.run.rows("test"))
    assert "evaluate" in json.dumps([str(section) for section in build(read_run(Path(answer.json["run"]))).sections])
