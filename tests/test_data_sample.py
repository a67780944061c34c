"""Rows drawn for a reader: the worst, one of every kind, and a random few without a finding."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data.batch import Batch
from executor.data.convert import row_builder
from executor.data.problem import Problem, error, warning
from executor.data.quality import Judge
from executor.data.read import open_source
from executor.data.review_file import encoded, row_hash, with_own_lines
from executor.data.sample import Drawn, draw, draw_file, draw_from
from executor.data.shape import detect_source
from executor.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def chat(asked: str, answer: str = "yes") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def rows_of(count: int) -> list[dict[str, Any]]:
    """Labels `a` and `b`, and one row of the label `rare`; one row is long."""
    rows = [chat(f"question {i}", "ab"[i % 2]) for i in range(count)]
    rows[7] = chat("question 7", "rare")
    rows[8] = chat("long " * 100, "a")
    return rows


def found(line: int, code: str = "refusal", severity: str = "warning") -> Problem:
    make = error if severity == "error" else warning
    return make(code, f"{code} in {line}", "Repair it.", line, "assistant")


def lines(drawn: list[Drawn]) -> list[int]:
    return [each.line for each in drawn]


def test_errors_lead_then_the_gravest_warnings_then_the_rows_without_a_finding() -> None:
    problems = [found(3, "near_duplicate"), found(5, "refusal"), found(9, "no_reply", "error"), found(5, "pii_email")]
    drawn = draw(rows_of(40), range(1, 41), problems, 10)
    assert lines(drawn)[:3] == [9, 5, 3]
    assert [problem.code for problem in drawn[1].problems] == ["refusal", "pii_email"]
    assert "no_reply" in drawn[0].why
    assert len(set(lines(drawn))) == 10
    assert all(not each.problems for each in drawn[3:])
    assert [each.control for each in drawn] == sorted(each.control for each in drawn)
    assert all(each.row == rows_of(40)[each.line - 1] for each in drawn)


def test_each_code_is_drawn_once_before_any_is_drawn_again() -> None:
    problems = [found(line, "conflicting_answers") for line in range(1, 31)]
    problems += [found(line, code) for line, code in [(31, "mojibake"), (32, "placeholder"), (33, "near_duplicate")]]
    drawn = draw(rows_of(60), range(1, 61), problems, 5)
    codes = Counter(problem.code for each in drawn for problem in each.problems)
    assert codes == {"conflicting_answers": 1, "mojibake": 1, "placeholder": 1, "near_duplicate": 1}
    more = draw(rows_of(60), range(1, 61), problems, 20)
    assert Counter(problem.code for each in more for problem in each.problems)["conflicting_answers"] > 5


def test_a_row_with_several_codes_stands_for_all_of_them() -> None:
    problems = [found(1, "refusal"), found(1, "mojibake"), *(found(line, "mojibake") for line in range(2, 20))]
    drawn = draw(rows_of(60), range(1, 61), problems, 4)
    assert lines(drawn)[0] == 1
    assert [each.why for each in drawn if "mojibake" in each.why] == []


@pytest.mark.parametrize("seed", range(5))
def test_every_label_and_length_is_there(seed: int) -> None:
    problems = [found(line) for line in range(20, 40)]
    drawn = draw(rows_of(200), range(1, 201), problems, 10, seed)
    assert {each.row["messages"][1]["content"] for each in drawn} == {"a", "b", "rare"}
    assert 9 in lines(drawn)
    assert next(each.why for each in drawn if each.line == 8).startswith('label "rare", which 1 row has')


def test_among_equals_the_rarer_label_is_worse() -> None:
    drawn = draw(rows_of(60), range(1, 61), [found(line) for line in (2, 4, 8, 10)], 5)
    assert lines(drawn)[0] == 8


def test_a_fifth_is_a_random_sample_of_the_rows_without_a_finding() -> None:
    rows = rows_of(100)
    problems = [found(line) for line in range(1, 51)]
    drawn_at: Counter[int] = Counter()
    for seed in range(150):
        control = [each for each in draw(rows, range(1, 101), problems, 20, seed) if each.control]
        assert len(control) == 4
        assert not any(each.problems for each in control)
        drawn_at.update(lines(control))
    assert set(drawn_at) == set(range(51, 101))
    # each of 50 rows has a chance of 4 in 50 in each of 150 draws: 12 times, standard deviation 3.3
    assert max(drawn_at.values()) <= 12 + 5 * 3.4


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    problems = [found(line) for line in range(1, 20)]
    first, again, other = (draw(rows_of(300), range(1, 301), problems, 30, seed) for seed in (1, 1, 2))
    assert first == again
    assert lines(first) != lines(other)


def test_all_rows_where_there_are_fewer_and_none_for_nought() -> None:
    drawn = draw(rows_of(12), range(1, 13), [found(2)], 50)
    assert sorted(lines(drawn)) == list(range(1, 13))
    assert sum(each.control for each in drawn) == 11
    with pytest.raises(UserError):
        draw(rows_of(12), range(1, 13), [], 0)


def test_a_problem_of_no_row_and_of_the_whole_file_draw_nothing_and_a_broken_row_is_drawn_first() -> None:
    rows = [*rows_of(30), {"messages": "x"}]
    problems = [found(77, "bad_json", "error"), warning("class_imbalance", "m", "f")]
    drawn = draw(rows, range(1, 32), problems, 10)
    assert (drawn[0].line, drawn[0].row, drawn[0].problems[0].code) == (31, rows[30], "bad_messages")
    assert len(drawn) == 10
    assert 77 not in lines(drawn)


@given(st.lists(JSON.map(lambda value: {"messages": value}) | st.just(chat("q")), max_size=8), st.integers(1, 10))
def test_whatever_the_rows_hold_as_many_are_drawn_as_there_are(rows: list[dict[str, Any]], n: int) -> None:
    drawn = draw(rows, range(1, len(rows) + 1), [], n)
    assert len(drawn) == min(n, len(rows))
    for each in drawn:
        assert json.loads(encoded(each.record()))["sha256"] == row_hash(rows[each.line - 1])


def test_the_rows_are_read_as_a_stream_and_only_the_drawn_are_held() -> None:
    alive = 0
    most = 0

    class Counted(dict[str, Any]):
        def __init__(self, row: dict[str, Any]) -> None:
            nonlocal alive, most
            super().__init__(row)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def read() -> Any:
        return ((Counted(chat(f"question {i}")), i) for i in range(1, 20_001))

    drawn = draw_from(read, (found(line) for line in range(1, 15_001)), 50)
    assert len(drawn) == 50
    assert most <= 60


class ButTheLast:
    """A judge that has something to say about every row but the last."""

    def __init__(self) -> None:
        self.lines: list[int] = []

    def add(self, batch: Batch) -> list[Problem]:
        self.lines += batch.lines
        return []

    def finish(self) -> list[Problem]:
        return [found(line) for line in self.lines[:-1]]


def test_every_problem_of_a_file_counts_however_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.data.problem.Findings.KEPT", 3)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(61)))
    drawn = drawn_from(path, 10, [ButTheLast()])
    assert [each.line for each in drawn if each.control] == [61]


def drawn_from(path: Path, n: int, judges: list[Judge] | None = None) -> list[Drawn]:
    source = open_source(path)
    shape = detect_source(source)
    build = row_builder(path, source.columns, shape)
    return draw_file(source, build, n, judges=judges, plain=shape.name == "messages")


def test_a_table_and_an_array_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nI lost my card,card\nwhere is it?,\nI moved,address\nwe moved,address\nmy card,card\n")
    drawn = drawn_from(path, 3)
    assert (drawn[0].line, drawn[0].problems[0].code) == (3, "empty_content")
    assert drawn[0].row == {"text": "where is it?", "label": ""}
    assert drawn[1].row["messages"][0]["role"] == "user"
    array = tmp_path / "rows.json"
    array.write_text(json.dumps([chat("one", "a"), {"messages": []}, chat("three", "b")]))
    drawn = drawn_from(array, 3)
    assert drawn[0].line == 2
    assert sorted(lines(drawn)) == [1, 2, 3]
    assert with_own_lines(open_source(path)).fingerprint is not None
