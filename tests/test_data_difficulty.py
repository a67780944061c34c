"""Difficulty: every measure counts as its formula says, and more of any never makes a row easier."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from executor.data import difficulty as module
from executor.data.batch import Batch
from executor.data.convert import row_builder
from executor.data.difficulty import Difficulties, batches_of, difficulty
from executor.data.read import open_source
from executor.data.shape import detect_source
from executor.data.store import attach, attached, ensure_source
from executor.errors import UserError
from executor.files import write_jsonl

Pair = tuple[str, str]


def chat(user: str, assistant: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def measured(pairs: list[Pair], size: int = 3, **more: Any) -> Difficulties:
    """The difficulties of rows read in batches of `size`."""
    rows = [chat(*pair) for pair in pairs]
    lines = list(range(1, len(rows) + 1))
    return difficulty(
        lambda: (Batch.of(rows[i : i + size], lines[i : i + size]) for i in range(0, len(rows), size)), **more
    )


FREE = [
    ("the cat", "the cat sat on the mat."),
    ("the dog", "the dog sat on the mat!"),
    ("the quokka", "an exegesis of marsupial taxonomy, at length, with footnotes and quotations"),
    ("the cat", "the dog"),
]


def test_rarity_is_the_mean_inverse_document_frequency() -> None:
    found = measured(FREE)
    words = {"the": 4, "dog": 2, "cat": 2}
    expected = sum(math.log(4 / count) for count in words.values()) / 3
    assert found.rarity[3] == pytest.approx(expected)
    assert found.rarity.argmax() == 2
    assert found.length.tolist() == [len(a) + len(b) for a, b in FREE]
    assert found.label_rarity is None


def test_difficulty_is_the_mean_of_the_ranks() -> None:
    found = measured(FREE)
    asked = [1 / 3, 1 / 3, 1, 1 / 3]  # three are equally long: none below, half of the two others
    answered = [0.5, 0.5, 1, 0]
    rarity = [0.5, 0.5, 1, 0]
    expected = [sum(ranks) / 3 for ranks in zip(asked, answered, rarity, strict=True)]
    assert found.difficulty == pytest.approx(expected)
    assert found.order()[-1] == 2


def test_a_rare_label_is_harder() -> None:
    pairs = [(f"text {i:02}", "common" if i < 18 else "seldom") for i in range(20)]
    found = measured(pairs)
    assert found.label_rarity is not None
    assert found.label_rarity[[0, 19]] == pytest.approx([math.log(20 / 18), math.log(10)])
    assert found.difficulty[18:].min() > found.difficulty[:18].max()


def test_loss_and_distance_move_the_ranks_and_may_be_unknown() -> None:
    pairs = [("same", "text to say")] * 4
    assert measured(pairs).difficulty.tolist() == [0.5] * 4
    found = measured(pairs, loss=[0.1, 0.2, None, 3.0], distance=[math.nan, 0.0, 1.0, math.inf])
    base = measured(pairs).label_rarity is not None
    known = 3 + base
    both = (known * 0.5 + 0.5 + 0) / (known + 2)
    assert found.difficulty.tolist() == pytest.approx(
        [(known * 0.5) / (known + 1), both, (known * 0.5 + 1) / (known + 1), (known * 0.5 + 1) / (known + 1)]
    )
    assert [row["loss"] for row in found.rows()] == [0.1, 0.2, None, 3.0]
    assert [row["distance"] for row in found.rows()] == [None, 0.0, 1.0, None]


def test_a_list_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="3 values of loss for 4 rows"):
        measured(FREE, loss=[1.0, 2.0, 3.0])


def test_signs_without_spaces_are_words() -> None:
    found = measured([("天気", "今日は雨"), ("天気", "今日は雪"), ("天気", "鬱")])
    assert found.rarity.tolist() == pytest.approx([(3 * math.log(1.5) + math.log(3)) / 6] * 2 + [math.log(3) / 3])


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=12), st.integers(1, 5))
def test_any_rows_give_a_share_each_whatever_the_batches(pairs: list[Pair], size: int) -> None:
    found = measured(pairs, size)
    whole = measured(pairs, 100)
    assert len(found.difficulty) == len(pairs)
    assert ((found.difficulty >= 0) & (found.difficulty <= 1)).all()
    assert np.allclose(found.difficulty, whole.difficulty)
    assert (found.rarity >= 0).all()


@given(st.lists(st.floats(0, 10), min_size=2, max_size=10), st.data())
def test_a_greater_loss_never_makes_a_row_easier(loss: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(loss) - 1))
    pairs = [(f"text {i}", f"reply {i}") for i in range(len(loss))]
    harder = [*loss[:place], loss[place] + 1, *loss[place + 1 :]]
    assert measured(pairs, loss=harder).difficulty[place] >= measured(pairs, loss=loss).difficulty[place] - 1e-12


def test_a_file_and_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [chat(*pair) for pair in FREE]
    write_jsonl(path, [rows[0], {"messages": []}, *rows[1:]])
    source = open_source(path)
    build = row_builder(path, source.columns, detect_source(source))
    found, fast = (difficulty(batches_of(source, build, plain)) for plain in (False, True))
    assert found.lines.tolist() == [1, 3, 4, 5]
    assert list(found.rows()) == list(fast.rows())
    version = ensure_source(path, 5)
    attach(version, module.COLUMN, found.rows())
    kept = list(attached(version, module.COLUMN))
    assert [row["line"] for row in kept] == [1, 3, 4, 5]
    assert {"line", "difficulty", "length", "rarity", "loss"} <= kept[0].keys()
    assert [row["difficulty"] for row in kept] == pytest.approx(found.difficulty.tolist(), abs=1e-6)


def test_the_fast_reading_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [chat(f"question {i}", f"the answer {i % 7}") for i in range(3000)])
    source = open_source(path)
    build = row_builder(path, source.columns, detect_source(source))
    found, fast = (difficulty(batches_of(source, build, plain)) for plain in (False, True))
    assert len(found.lines) == 3000
    assert list(found.rows()) == list(fast.rows())


def test_another_process_measures_the_same() -> None:
    """Python's own hash of a text differs from process to process; colliding words must not."""
    program = "from executor.data.difficulty import _bucket; print([_bucket(w) for w in ('otter', 'é', '天')])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([module._bucket(word) for word in ("otter", "é", "天")])
