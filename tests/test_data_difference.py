"""What changed between two files: every row is accounted for, in any layout."""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.data.difference import Difference, difference, render
from executor.data.matching import out_of_order
from executor.data.store import ensure_source, record
from executor.data.undo import undo
from executor.errors import UserError
from executor.files import write_jsonl

Row = dict[str, Any]


def chat(user: str, assistant: str, system: str = "") -> Row:
    lead = [{"role": "system", "content": system}] if system else []
    return {"messages": [*lead, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def compared(folder: Path, one: list[Any], other: list[Any], **more: Any) -> Difference:
    for name, rows in (("a.jsonl", one), ("b.jsonl", other)):
        write_jsonl(folder / name, rows)
    return difference(folder / "a.jsonl", folder / "b.jsonl", **more)


def numbers(found: Difference) -> tuple[int, int, int, int, int]:
    return found.same, found.added, found.removed, found.changed, found.reordered


TEN = [chat(f"question number {i}", f"answer {i}") for i in range(10)]


def test_equal_files_and_other_key_orders(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [dict(reversed(row.items())) for row in TEN])
    assert (numbers(found), found.identical) == ((10, 0, 0, 0, 0), True)
    assert render(found).startswith("**No difference**")


def test_added_removed_changed(tmp_path: Path) -> None:
    other = [*TEN[:3], chat("QUESTION  number 3", "other"), *TEN[4:8], TEN[9], chat("new", "new")]
    found = compared(tmp_path, TEN, other)
    assert numbers(found) == (8, 1, 1, 1, 0)
    (changed,) = found.examples["changed"]
    assert changed.a is not None
    assert changed.b is not None
    assert (changed.a.line, changed.b.line) == (4, 4)
    assert found.examples["added"][0].question == "new"
    assert found.examples["removed"][0].before == "answer 8"


def test_a_changed_answer_shows_the_question_once(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [*TEN[:9], chat("question number 9", "better")])
    (changed,) = found.examples["changed"]
    assert (changed.question, changed.before, changed.after) == ("question number 9", "answer 9", "better")
    assert found.changed_by_place == 0


def test_another_question_in_the_same_place_is_a_change(tmp_path: Path) -> None:
    mail = [*TEN[:5], chat("write to [EMAIL] please", "answer 5"), *TEN[6:]]
    found = compared(tmp_path, [*TEN, chat("late", "x")], [TEN[0], *mail[2:], chat("late", "x")])
    assert (numbers(found), found.changed_by_place) == ((9, 0, 1, 1, 0), 1)


def test_a_gap_filled_with_more_rows_is_no_change_in_place(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [*TEN[:5], chat("new one", "x"), chat("new two", "y"), *TEN[6:]])
    assert numbers(found) == (9, 2, 1, 0, 0)


def test_files_with_nothing_in_common_have_no_place_in_common(tmp_path: Path) -> None:
    other = [chat(f"something else {i}", "x") for i in range(10)]
    assert numbers(compared(tmp_path, TEN, other)) == (0, 10, 10, 0, 0)


def test_moved_rows(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [TEN[7], *TEN[:7], *TEN[8:]])
    assert numbers(found) == (10, 0, 0, 0, 1)
    (moved,) = found.examples["reordered"]
    assert moved.a is not None
    assert moved.b is not None
    assert (moved.a.line, moved.b.line) == (8, 1)


def test_dropped_duplicates_are_removed_not_moved(tmp_path: Path) -> None:
    assert numbers(compared(tmp_path, [*TEN, TEN[0], TEN[4]], TEN)) == (10, 0, 2, 0, 0)


def test_a_named_row_is_the_same_wherever_it_stands(tmp_path: Path) -> None:
    one = [{"id": i, "note": f"n{i}"} for i in range(6)]
    other = [{"id": i, "note": "other" if i == 2 else f"n{i}"} for i in (2, 0, 1, 3, 4, 5)]
    found = compared(tmp_path, one, other)
    assert numbers(found) == (5, 0, 0, 1, 0)
    assert found.lengths.keys() == {"row"}


def test_a_table_and_what_was_made_of_it(tmp_path: Path) -> None:
    with open(tmp_path / "t.csv", "w", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *((f"the text number {i}", "ab"[i % 2]) for i in range(20))])
    write_jsonl(tmp_path / "t.jsonl", [chat(f"the text number {i}", "ab"[i % 2], "Classify.") for i in range(19)])
    found = difference(tmp_path / "t.csv", tmp_path / "t.jsonl")
    assert (numbers(found), found.across_layouts) == ((19, 0, 1, 0, 0), True)
    assert found.examples["removed"][0].a is not None
    assert found.examples["removed"][0].a.line == 21
    assert "layouts differ" in render(found)


def test_labels_and_lengths(tmp_path: Path) -> None:
    one = [chat(f"q{i:02}", "abcd"[i % 4]) for i in range(20)]
    found = compared(tmp_path, one, one[:10] + [chat(f"q{i:02}", "a") for i in range(10, 20)])
    assert found.labels is not None
    assert found.labels.a == dict.fromkeys("abcd", 5)
    assert found.labels.b == {"a": 13, "b": 3, "c": 2, "d": 2}
    assert found.labels.distance == pytest.approx(0.4)
    assert found.lengths["input"].a.mean == 3
    assert "| a | 5 | 13 |" in render(found)


def test_a_changed_system_message_is_a_change(tmp_path: Path) -> None:
    other = [chat(f"question number {i}", f"answer {i}", "Be brief.") for i in range(10)]
    assert numbers(compared(tmp_path, TEN, [*other[:1], *TEN[1:]])) == (9, 0, 0, 1, 0)


def test_broken_rows_are_counted_and_said(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", TEN)
    (tmp_path / "b.jsonl").write_text("\n".join([json.dumps(TEN[0]), "{broken", json.dumps(TEN[1])]))
    found = difference(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (found.b.rows, found.b.unreadable, found.same, found.removed) == (2, 1, 2, 8)
    assert "could not be read" in render(found)


def test_the_parts_of_a_split_are_one_side(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", TEN)
    paths = {"train": tmp_path / "p" / "train.jsonl", "test": tmp_path / "p" / "test.jsonl"}
    write_jsonl(paths["train"], [*TEN[1:5], *TEN[6:]])
    write_jsonl(paths["test"], [TEN[0]])
    parted = record(tmp_path / "p", "split", parts={"train": (paths["train"], 8), "test": (paths["test"], 1)})
    found = difference(tmp_path / "all.jsonl", parted)
    assert numbers(found) == (9, 0, 1, 0, 1)
    assert found.examples["reordered"][0].b is not None
    assert found.examples["reordered"][0].b.file == "test.jsonl"
    gone = undo(parted)
    with pytest.raises(UserError, match="left no file"):
        difference(gone, parted)


def test_an_older_version_is_read_from_the_store(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", TEN)
    source = ensure_source(tmp_path / "a.jsonl")
    write_jsonl(tmp_path / "a.jsonl", TEN[:4])
    assert numbers(difference(source, tmp_path / "a.jsonl")) == (4, 0, 6, 0, 0)
    assert difference(source.id, str(tmp_path / "a.jsonl")).a.version == source.id


def test_an_empty_and_an_unreadable_side(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", TEN)
    (tmp_path / "empty.jsonl").write_text("")
    assert numbers(difference(tmp_path / "empty.jsonl", tmp_path / "a.jsonl")) == (0, 10, 0, 0, 0)
    assert difference(tmp_path / "empty.jsonl", tmp_path / "empty.jsonl").identical
    with pytest.raises(UserError):
        difference(tmp_path / "none.jsonl", tmp_path / "a.jsonl")


def test_markup_of_the_rows_stays_text(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [*TEN, chat("<b>x</b> | `y`", "# *z*\nnext")])
    text = render(found)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "\n# " not in text


def test_examples_are_few_and_counts_whole(tmp_path: Path) -> None:
    found = compared(tmp_path, TEN, [], examples=2)
    assert len(found.examples["removed"]) == 2
    assert found.removed == 10
    assert "and 8 more" in render(found)
    assert compared(tmp_path, TEN, [], examples=0).examples["removed"] == []


Texts = st.sampled_from(["a", "b", "c d", "e\u00e9", ""])
Rows = st.lists(
    st.one_of(
        st.builds(chat, Texts, Texts),
        st.fixed_dictionaries({"id": st.integers(0, 3), "note": Texts}),
        st.dictionaries(Texts, st.none() | st.integers() | st.lists(Texts, max_size=2), max_size=2),
    ),
    max_size=8,
)


@settings(max_examples=120)
@given(Rows, Rows)
def test_every_row_is_accounted_for(one: list[Row], other: list[Row]) -> None:
    with TemporaryDirectory() as folder:
        found = compared(Path(folder), one, other)
        back = difference(Path(folder) / "b.jsonl", Path(folder) / "a.jsonl")
    assert found.same + found.removed + found.changed == found.a.rows
    assert found.same + found.added + found.changed == found.b.rows
    assert numbers(back) == (found.same, found.removed, found.added, found.changed, found.reordered)
    if not found.across_layouts:
        keys = [Counter(json.dumps(row, sort_keys=True) for row in rows) for rows in (one, other)]
        assert found.same == (keys[0] & keys[1]).total()
        assert found.identical == (one == other)
    assert render(found)


@given(st.permutations(range(7)))
def test_the_fewest_rows_are_out_of_order(order: list[int]) -> None:
    out = out_of_order(np.array(order, dtype=np.int64))
    kept = [value for value, moved in zip(order, out, strict=True) if not moved]
    longest = max(n for n in range(8) for some in itertools.combinations(order, n) if list(some) == sorted(some))
    assert kept == sorted(kept)
    assert len(kept) == longest


def test_a_shuffled_file_has_only_moved_rows(tmp_path: Path) -> None:
    rows = [chat(f"question {i}", f"answer {i}") for i in range(500)]
    found = compared(tmp_path, rows, random.Random(0).sample(rows, 500))
    assert (found.same, found.added, found.removed, found.changed) == (500, 0, 0, 0)
    assert 400 < found.reordered < 500
