"""`finetune go` on Banking77 with the real model: ten intents, 20 training rows each, where its files are at hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from banking77 import DATA, read, sample
from conftest import CACHE, Answer

pytestmark = pytest.mark.real


@pytest.mark.skipif(not (DATA / "banking77_train.csv").exists(), reason=f"no Banking77 in {DATA}")
def test_go_measures_prompting_and_tuning_on_real_questions(
    tmp_path: Path, finetune: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short budget keeps it quick: about two of the three epochs."""
    monkeypatch.setenv("FINETUNE_CACHE", CACHE)
    rng = random.Random(7)
    labels = sorted(rng.sample(sorted({label for _, label in read("banking77_train.csv")}), 10))
    train = sample("banking77_train.csv", labels, 20, tmp_path / "train.csv", rng)
    test = sample("banking77_test.csv", labels, 4, tmp_path / "test.csv", rng)
    answer = finetune("go", train, "--test", test, "--budget", "40s", "--yes", "--json")
    if answer.code == 4:
        pytest.skip(f"the package index cannot be reached: {answer.json['error']['what']}")
    scores = {system: score["task_accuracy"]["value"] for system, score in answer.json["scores"].items()}
    assert scores.keys() == {"zero_shot", "prompt", "few_shot", "fine_tuned"}
    others = {system: score for system, score in scores.items() if system != "fine_tuned"}
    assert scores["fine_tuned"] >= 0.4 > 1 / len(labels) > scores["zero_shot"], "a short training, far above chance"
    assert max(scores.values()) >= 0.6
    assert others[answer.json["comparison"]["b"]] == max(others.values()), "held against the best of the others"
    assert answer.code == (0 if answer.json["verdict"] == "ship" else 1)
    assert answer.json["comparison"]["n"] == 40
