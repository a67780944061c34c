"""The systems under test: instructions, nearest examples, looked-up passages, and the choices of validation rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import KINDS, chat_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.data.documents import WORDS, passages, read_passages
from executor.errors import UserError
from executor.evaluate.instructions import Instruction, instructions, typical_words
from executor.evaluate.retrieve import Texts
from executor.evaluate.shots import Shots
from executor.evaluate.slices import parts, sliced, worst
from executor.evaluate.systems import spread
from executor.spec import DataSpec

LABELS = DataSpec(path="/nowhere", version="0", kind="label", labels=tuple(sorted(KINDS)))
PROMPT = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]


def test_parts_are_scored_by_source() -> None:
    by = {"length": ["a"] * 40 + ["b"] * 40}
    alike = [1.0] * 20 + [0.0] * 20 + [1.0] * 40
    of = [f"source {row // 10}" for row in range(80)]
    plain, clustered = sliced(alike, by, True), sliced(alike, by, True, of)
    assert clustered["length"]["a"]["high"] - clustered["length"]["a"]["low"] > 0.1 + (
        plain["length"]["a"]["high"] - plain["length"]["a"]["low"]
    ), "ten rows of one source are worth less than ten"


# Looking things up.


def test_the_text_with_the_rarest_word_of_the_question_comes_first() -> None:
    texts = Texts(["the door of room one", "the door code of room seven is 4711", "rooms have doors", ""])
    assert texts.nearest("What is the code of room seven?", 2)[0] == 1
    assert texts.nearest("zebra", 3) == []
    assert texts.nearest("", 3) == []
    assert Texts([]).nearest("door", 3) == []


def test_scripts_without_spaces_are_found_too() -> None:
    assert Texts(["猫は動物です", "車は速い"]).nearest("動物は何ですか", 1) == [0]


@given(st.lists(st.text(max_size=20), max_size=12), st.text(max_size=20), st.integers(0, 5))
def test_looking_up_finds_places_once_and_not_too_many(texts: list[str], question: str, most: int) -> None:
    found = Texts(texts).nearest(question, most)
    assert len(found) == len(set(found)) <= most
    assert all(0 <= place < len(texts) for place in found)


def test_texts_without_spaces_are_cut_too() -> None:
    sentences = "这是一个很长的句子，它说明了一些事情。" * 200
    found = passages(sentences)
    assert "".join(found).replace(" ", "") == sentences, "nothing is lost"
    assert max(map(len, found)) <= 2 * WORDS
    assert "".join(passages("x" * 10_000)).replace(" ", "") == "x" * 10_000
    assert max(map(len, passages("很" * 10_000))) <= 2 * WORDS
    assert max(len(each.split()) for each in passages("word " * 1000)) <= WORDS


def test_documents_are_cut_into_passages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("First paragraph.\n\n" + "A long sentence follows here. " * 60)
    (tmp_path / "b.md").write_text("Second document.")
    (tmp_path / "c.bin").write_bytes(b"\x00\x01")
    found = read_passages(tmp_path)
    assert {row["source"] for row in found} == {"a.txt", "b.md"}
    assert all(len(row["text"].split()) <= WORDS for row in found)
    table = tmp_path / "rows.csv"
    table.write_text("room,code\n12,4711\n13,8822\n")
    assert [row["text"] for row in read_passages(table)] == ["room: 12; code: 4711", "room: 13; code: 8822"]
    for nothing in (tmp_path / "absent", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError):
            read_passages(nothing)


@given(st.lists(st.sampled_from(["One two three.", "Four!", "\n\n", " and more words "]), max_size=80))
def test_passages_lose_no_word(pieces: list[str]) -> None:
    text = " ".join(pieces)
    assert " ".join(passages(text)).split() == text.split()


# Examples.


def test_the_nearest_examples_are_shown_with_the_best_one_last() -> None:
    rows = chat_rows()
    shots = Shots(rows[:30], 4, seed=0, way="nearest")
    messages = shots.messages(rows[30]["messages"][:-1])
    assert [turn["role"] for turn in messages] == ["system", *["user", "assistant"] * 4, "user"]
    word = "red"
    assert word in rows[30]["messages"][1]["content"]
    assert word in messages[-3]["content"], "the same word in the example right before the question"
    assert len(Shots(rows[:3], 8, seed=0, way="nearest").of("red")) == 3


# Instructions.


def test_the_users_prompt_is_the_first_candidate() -> None:
    data = LABELS.model_copy(update={"prompt": "Mine."})
    found = instructions(data, chat_rows(), "label")
    assert found[0] == Instruction("your prompt", "Mine.")
    assert len({(each.system, each.after) for each in found}) == len(found)


@pytest.mark.parametrize("kind", ["label", "json", "text"])
def test_every_candidate_says_what_an_answer_is(kind: str) -> None:
    rows = chat_rows()
    if kind == "json":
        rows = [
            {"messages": [*row["messages"][:-1], {"role": "assistant", "content": '{"kind": "x", "n": 1}'}]}
            for row in rows
        ]
    data = LABELS if kind == "label" else DataSpec(path="/nowhere", version="0", kind=kind)
    found = instructions(data, rows, {"label": "label", "json": "json", "text": "normalised"}[kind])  # type: ignore[arg-type]
    assert len(found) >= 2
    for each in found:
        messages = each.messages(PROMPT)
        assert messages[-1]["role"] == "user"
        assert messages[-1]["content"].startswith("Q")
        assert messages[0]["content"] == (each.system or "S")
    assert PROMPT[1]["content"] == "Q", "the row itself is left alone"
    told = " ".join(f"{each.system} {each.after}" for each in found)
    assert {"label": "animal", "json": "kind", "text": "word"}[kind] in told


def test_typical_words_set_labels_apart() -> None:
    words = typical_words(chat_rows())
    assert words.keys() == set(KINDS)
    for label, found in words.items():
        assert set(found) & set(KINDS[label])
        assert not set(found) & {word for other in KINDS if other != label for word in KINDS[other]}


def test_a_sample_is_spread_over_all_rows() -> None:
    rows: list[dict[str, Any]] = [{"n": n} for n in range(100)]
    assert [row["n"] for row in spread(rows, 4)] == [0, 25, 50, 75]
    assert spread(rows[:3], 10) == rows[:3]
    assert spread(rows, 0) == []


# Parts of the test rows.


def test_the_weakest_part_is_named() -> None:
    rows = chat_rows()
    values = [0.0 if row["messages"][-1]["content"] == "fruit" else 1.0 for row in rows]
    by = parts(rows, LABELS)
    assert by["label"] == [row["messages"][-1]["content"] for row in rows]
    assert set(by["length of the question"]) <= {"short", "middle", "long"}
    found = sliced(values, by, binary=True)
    assert found["label"]["fruit"]["value"] == 0.0
    weakest = worst(found)
    assert weakest is not None
    assert (weakest["by"], weakest["part"], weakest["n"]) == ("label", "fruit", 20)


def test_columns_that_the_user_named_part_the_rows() -> None:
    rows = [{**row, "columns": {"source": "web" if n % 2 else "mail"}} for n, row in enumerate(chat_rows())]
    by = parts(rows, LABELS.model_copy(update={"slices": ("source",)}))
    assert by["source"][:2] == ["mail", "web"]
    assert "language" not in by, "one language parts nothing"
