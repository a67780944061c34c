"""Planted truths: data of which the right answer is known goes in at the command line, and the answer comes out."""

from __future__ import annotations

import contextlib
import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import KINDS, Answer

from executor.files import read_jsonl
from executor.run_folder import RunFolder, find_run

Finetune = Callable[..., Answer]
Pair = tuple[str, str]
PLACES = (
    "today we saw {} by the river", "my neighbour painted a picture with {} and then went home",
    "is there {} in the second room upstairs or not", "the old book speaks of {} on its last page",
    "nobody in our village ever asked for {} before winter", "children like to draw {} with chalk on the pavement",
    "a dream about {} woke me at four in the morning", "the shop on the corner has a sign that shows {}",
    "please write one short line about {} for the paper", "her song begins with {} and ends in the rain",
)  # fmt: skip
WORDS = [(word, kind) for kind, words in KINDS.items() for word in words]


def told(places: Sequence[str]) -> list[Pair]:
    """Every word in every place, with its kind."""
    return [(place.format(word), kind) for place in places for word, kind in WORDS]


def write(path: Path, pairs: Sequence[Pair]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("message", "kind"), *pairs])
    return path


def tuned(
    finetune: Finetune, folder: Path, pairs: Sequence[Pair], base: Path | None, suites: Sequence[str], **train: Any
) -> str:
    """The name of a run that was trained on these rows with these settings."""
    data, spec = write(folder / "train.csv", pairs), folder / "spec.yaml"
    named = ("--base-model", base) if base else ()
    made = finetune("plan", data, *named, "--no-measure", "--out", spec, "--json")
    assert made.code == 0, made.err
    value = yaml.safe_load(spec.read_text(encoding="utf-8"))
    value["train"] |= train
    value["evaluate"] |= {"suites": list(suites), "systems": ["zero_shot"]}
    spec.write_text(yaml.safe_dump(value), encoding="utf-8")
    trained = finetune("train", spec, "--json")
    assert trained.code == 0, trained.err
    return Path(trained.json["run"]).name


LEARNS = {
    "method": "full", "steps": 300, "epochs": 12, "batch_size": 16, "learning_rate": 3e-3, "dtype": "float32",
    "threads": 1, "select": "last", "patience": 0,
}  # fmt: skip


@pytest.fixture
def learnt(finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None) -> str:
    """A small model that was taught the kinds of all words in seven places."""
    return tuned(finetune, tmp_path, told(PLACES[:7]), tiny_model, (), **LEARNS)


def test_a_clear_gain_ships(finetune: Finetune, tmp_path: Path, learnt: str) -> None:
    test = write(tmp_path / "test.csv", told(PLACES[7:]))
    answer = finetune("evaluate", learnt, "--data", test, "--json")
    assert (answer.code, answer.json["verdict"]) == (0, "ship"), answer.json["verdict_reasons"]
    assert answer.json["comparison"]["low"] > 0.5


def test_two_rows_of_twelve_prove_nothing(finetune: Finetune, tmp_path: Path, learnt: str) -> None:
    """It knows all twelve words, and ten of them have another label in this test: it gets two, the base model none."""
    wrong = dict(zip(sorted(KINDS), [*sorted(KINDS)[1:], sorted(KINDS)[0]], strict=True))
    rows = told(PLACES[8:9])[::2][:12]
    rows = [(text, kind if place < 2 else wrong[kind]) for place, (text, kind) in enumerate(rows)]
    answer = finetune("evaluate", learnt, "--data", write(tmp_path / "test.csv", rows), "--json")
    compared = answer.json["comparison"]
    assert compared["n"] == 12
    assert compared["difference"] == pytest.approx(2 / 12)
    assert (answer.code, answer.json["verdict"]) == (1, "inconclusive")
    assert any("test rows would tell" in reason for reason in answer.json["verdict_reasons"])


def test_shuffled_labels_never_ship(finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None) -> None:
    rows, rng = told(PLACES), random.Random(5)
    labels = [kind for _, kind in rows]
    rng.shuffle(labels)
    shuffled = [(text, label) for (text, _), label in zip(rows, labels, strict=True)]
    rng.shuffle(shuffled)
    run = tuned(finetune, tmp_path, shuffled[:100], tiny_model, (), **{**LEARNS, "steps": 100})
    test = write(tmp_path / "test.csv", shuffled[100:])
    answer = finetune("evaluate", run, "--data", test, "--json")
    assert answer.json["comparison"]["n"] == 200
    assert (answer.code, answer.json["verdict"]) == (1, "do_not_ship"), answer.json["verdict_reasons"]


def test_test_rows_in_the_training_file_are_refused(finetune: Finetune, tmp_path: Path, tiny_model: Path) -> None:
    rows, test = told(PLACES[:4]), told(PLACES[4:5])
    data, held_out = write(tmp_path / "train.csv", [*rows, *test[:4]]), write(tmp_path / "test.csv", test)
    answer = finetune("go", data, "--test", held_out, "--base-model", tiny_model, "--json")
    assert answer.code == 3
    assert "4 rows of train.csv ask what the test asks" in answer.json["error"]["what"]
    assert not list((tmp_path / "home" / "runs").glob("*")), "nothing was started"


def test_a_score_on_rows_that_were_trained_on_never_ships(finetune: Finetune, tmp_path: Path, learnt: str) -> None:
    test = write(tmp_path / "test.csv", [*told(PLACES[7:9]), *told(PLACES[:1])[:1]])
    answer = finetune("evaluate", learnt, "--data", test, "--json")
    assert (answer.code, answer.json["verdict"]) == (1, "do_not_ship")
    assert "also trained on" in answer.json["verdict_reasons"][0]


# On the real model: it can read examples and passages, and it has something to lose.


@pytest.mark.real
def test_a_capability_that_a_huge_rate_destroyed_stops_it(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 12, "epochs": 1, "learning_rate": 2e-2, "warmup_share": 0.0, "select": "last", "patience": 0}
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    run_here(monkeypatch)
    run = tuned(finetune, tmp_path, told(PLACES[:4]), None, ("general_knowledge",), **settings)
    answer = finetune("evaluate", run, "--data", write(tmp_path / "test.csv", told(PLACES[7:8])), "--json")
    suite = answer.json["regression"]["general_knowledge"]
    assert suite["before"] > 0.4
    assert suite["verdict"] == "lost"
    assert (answer.code, answer.json["verdict"]) == (1, "do_not_ship")
    assert any("general_knowledge lost" in reason for reason in answer.json["verdict_reasons"])


def run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process, whole: their suites are not cut."""
    from executor.__main__ import main

    def start(run: RunFolder) -> RunFolder:
        with open(run.log_file, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            main(str(run.path))
        return run

    monkeypatch.setattr("tools.jobs.start", start)


@pytest.mark.real
def test_facts_that_change_are_looked_up(finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training rows hold last year's codes, the documents this year's."""
    run_here(monkeypatch)
    rng = random.Random(3)
    rooms = [f"room {name} {number}" for name in ("Amber", "Birch", "Cedar", "Delta") for number in range(11, 26)]
    old, new = ({room: str(rng.randint(1000, 9999)) for room in rooms} for _ in range(2))
    data = write(tmp_path / "codes.csv", [(f"What is the code of {room}?", old[room]) for room in rooms[:40]])
    test = write(tmp_path / "test.csv", [(f"What is the code of {room}?", new[room]) for room in rooms[40:]])
    documents = tmp_path / "list.txt"
    documents.write_text("\n\n".join(f"The code of {room} is {code}." for room, code in new.items()), encoding="utf-8")
    words = ("--test", test, "--documents", documents, "--map", "user=message", "--map", "assistant=kind")
    answer = finetune("go", data, *words, "--target", "0.7", "--json")
    assert answer.code == 0
    scores = {system: cells["task_accuracy"]["value"] for system, cells in answer.json["scores"].items()}
    assert scores["rag"] >= 0.7 > max(value for system, value in scores.items() if system != "rag")
    assert answer.json["decision"]["approach"] == "rag"
    assert answer.json["verdict"] is None, "a decision not to tune is an answer"


@pytest.mark.real
def test_where_examples_are_enough_nothing_is_trained(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the kind that the most similar example has: a model that can copy needs no training."""
    run_here(monkeypatch)
    data = write(tmp_path / "kinds.csv", told(PLACES[:5]))
    answer = finetune("go", data, "--target", "0.6", "--json")
    assert answer.code == 0
    assert answer.json["decision"]["approach"] in ("few_shot", "prompt")
    assert answer.json["scores"][{"few_shot": "few_shot"}[answer.json["decision"]["approach"]]]
    assert "fine_tuned" not in answer.json["scores"]
    assert not find_run(Path(answer.json["run"]).name).adapter.exists()
    assert read_jsonl(Path(answer.json["run"]) / "evaluation" / "few_shot.jsonl")
