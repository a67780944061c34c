"""What a reader decides about drawn rows: kept at once, taken back, and carried out on the whole file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data import sample
from executor.data.convert import row_builder
from executor.data.problem import Problem, error, warning
from executor.data.read import open_source
from executor.data.review import Decision, FaultRate, Review, apply, faults
from executor.data.review_apply import apply_file
from executor.data.review_file import journal_of, read_sample, row_hash
from executor.data.sample import Drawn, draw
from executor.data.shape import detect_source
from executor.errors import UserError
from tools.sample import SAMPLE_TOOLS

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


def written(tmp_path: Path, drawn: list[Drawn], name: str = "sample.jsonl", **by_hand: Any) -> Path:
    """A sample file; `by_hand` changes its first line."""
    path = tmp_path / name
    sample.write(path, drawn)
    if by_hand:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([json.dumps(json.loads(first) | by_hand), *rest]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def drawn() -> list[Drawn]:
    return draw(rows_of(20), range(1, 21), [found(3), found(4)], 10)


def test_a_sample_holds_what_a_reader_needs(tmp_path: Path, drawn: list[Drawn]) -> None:
    path = written(tmp_path, drawn)
    first = json.loads(path.read_text().splitlines()[0])
    assert {"line", "why", "problems", "row", "decision"} <= first.keys()
    assert first["decision"] is None
    items = read_sample(path)
    assert [(item.line, item.row, item.control) for item in items] == [(d.line, d.row, d.control) for d in drawn]
    assert items[0].problems == drawn[0].problems


def test_decisions_are_on_disk_at_once_and_the_last_wins(tmp_path: Path, drawn: list[Drawn]) -> None:
    path = written(tmp_path, drawn)
    review = Review(path)
    review.decide(0, "keep")
    review.decide(1, "drop", note="off topic")
    review.decide(0, "drop")
    assert len(journal_of(path).read_text().splitlines()) == 3
    again = Review(path, reviewer="Kim")
    assert again.counts() == {"keep": 0, "drop": 2, "edit": 0, "undecided": 8}
    assert again.next_undecided(0) == 2
    made = again.decision(1)
    assert made is not None
    assert (made.note, made.reviewer, made.line) == ("off topic", None, drawn[1].line)
    assert again.decide(2, "keep").reviewer == "Kim"


def test_undo_goes_back_step_by_step_also_after_a_restart(tmp_path: Path, drawn: list[Drawn]) -> None:
    path = written(tmp_path, drawn)
    review = Review(path)
    for place, kind in [(0, "keep"), (1, "drop"), (0, "drop")]:
        review.decide(place, kind)  # type: ignore[arg-type]
    assert review.undo() == 0
    again = Review(path)
    made = again.decision(0)
    assert made is not None
    assert made.decision == "keep"
    assert [again.undo(), again.undo(), again.undo()] == [1, 0, None]
    assert Review(path).counts()["undecided"] == 10


def test_a_line_cut_off_by_a_crash_costs_only_itself(tmp_path: Path, drawn: list[Drawn]) -> None:
    path = written(tmp_path, drawn)
    review = Review(path)
    review.decide(0, "keep")
    review.decide(1, "keep")
    whole = journal_of(path).read_bytes()
    journal_of(path).write_bytes(whole[:-9])
    again = Review(path)
    assert (again.unreadable, again.counts()["keep"]) == (1, 1)
    again.decide(2, "drop")
    last = Review(path)
    assert (last.unreadable, last.counts()["keep"], last.counts()["drop"]) == (1, 1, 1)


def test_a_new_sample_of_the_same_name_does_not_inherit_decisions(tmp_path: Path, drawn: list[Drawn]) -> None:
    path = written(tmp_path, drawn)
    review = Review(path)
    review.decide(0, "drop")
    review.decide(1, "drop")
    first = drawn[0]
    other = Drawn(first.line, first.why, first.problems, chat("something else"))
    written(tmp_path, [other, *drawn[1:]])
    again = Review(path)
    assert again.decision(0) is None
    assert again.decision(1) is not None
    assert again.stale == [first.line]


def test_the_broken_is_neither_kept_nor_saved(tmp_path: Path, drawn: list[Drawn]) -> None:
    broken = Drawn(99, "error", [found(99, "no_reply", "error")], {"messages": [{"role": "user", "content": "hi"}]})
    path = written(tmp_path, [broken, *drawn])
    review = Review(path)
    annotated = {**chat("hi", "ho"), "source": None}
    with pytest.raises(UserError, match="no assistant reply"):
        review.decide(0, "keep")
    with pytest.raises(UserError, match="unknown role"):
        review.decide(0, "edit", {"messages": [{"role": "uesr", "content": "hi"}]})
    with pytest.raises(UserError):
        review.decide(0, "edit")
    assert not journal_of(path).exists()
    review.decide(0, "edit", annotated)
    made = Review(path).decision(0)
    assert made is not None
    assert made.row == annotated


@given(JSON)
def test_an_edited_row_of_any_kind_is_taken_or_refused_with_reasons(row: Any) -> None:
    bad = faults(row)
    decision = Decision(line=1, sha256=row_hash(chat("q")), decision="edit", row=row if isinstance(row, dict) else None)
    if bad:
        with pytest.raises(UserError):
            apply([chat("q")], [decision])


def test_decisions_by_hand_in_the_sample(tmp_path: Path, drawn: list[Drawn]) -> None:
    made = Review(written(tmp_path, drawn, decision=" Drop ", note="no")).decision(0)
    assert made is not None
    assert (made.decision, made.note, made.decided_at) == ("drop", "no", None)
    path = written(tmp_path, drawn, decision="edit", row=chat("better", "a"))
    made = Review(path).decision(0)
    assert made is not None
    assert (made.row, made.sha256) == (chat("better", "a"), row_hash(drawn[0].row))
    assert Review(path).decide(0, "keep").decision == "edit"  # what is shown is kept
    with pytest.raises(UserError, match="decision does not say edit"):
        Review(written(tmp_path, drawn, row=chat("better")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("\n\n", "no rows"),
        ("{", "not valid JSON"),
        ("[1]", "Not a drawn row"),
        ('{"line": 1}', "row"),
        ('{"line": 1, "row": {}, "decision": "maybe"}', "decision"),
        ('{"line": 1, "row": {}}\n{"line": 1, "row": {}}', "twice"),
        ("[" * 100_000, "nested|recursion"),
        ("\udcff", "UTF-8"),
    ],
)
def test_a_sample_that_is_none_is_told_in_a_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=f"(?i){says}"):
        Review(path)


def test_a_missing_sample_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError):
            Review(path)


def test_apply_keeps_the_row_equation() -> None:
    rows = rows_of(10)
    decisions = [
        Decision(line=1, sha256=row_hash(rows[0]), decision="drop", note="off topic"),
        Decision(line=2, sha256=row_hash(rows[1]), decision="edit", row=chat("better")),
        Decision(line=3, sha256=row_hash(rows[2]), decision="keep"),
    ]
    done = apply(rows, decisions)
    assert done.rows == [chat("better"), *rows[2:]]
    assert (len(rows), done.removed, done.changed) == (len(done.rows) + done.removed, 1, 1)
    assert [(entry["line"], entry["action"], entry["codes"]) for entry in done.log] == [
        (1, "removed", ["review_drop"]),
        (2, "changed", ["review_edit"]),
    ]
    assert done.log[0]["note"] == "off topic"


@given(st.lists(st.sampled_from(["keep", "drop", "edit", None]), min_size=10, max_size=10))
def test_apply_touches_only_what_was_decided(kinds: list[Any]) -> None:
    rows = rows_of(10)
    decisions = [
        Decision(line=place, sha256=row_hash(row), decision=kind, row=chat("new", "n") if kind == "edit" else None)
        for place, (row, kind) in enumerate(zip(rows, kinds, strict=True), 1)
        if kind
    ]
    done = apply(rows, decisions)
    assert done.rows == [
        chat("new", "n") if kind == "edit" else row for row, kind in zip(rows, kinds, strict=True) if kind != "drop"
    ]
    assert (done.removed, done.changed) == (kinds.count("drop"), kinds.count("edit"))


def test_apply_refuses_another_file() -> None:
    rows = rows_of(10)
    decision = Decision(line=1, sha256=row_hash(rows[1]), decision="drop")
    for decisions in ([decision], [decision.model_copy(update={"line": 99})]):
        with pytest.raises(UserError, match="not in the file as they were"):
            apply(rows, decisions)


def test_the_fault_rate_counts_decided_control_rows_only(tmp_path: Path, drawn: list[Drawn]) -> None:
    review = Review(written(tmp_path, drawn))
    control = [place for place, item in enumerate(review.items) if item.control]
    assert review.fault_rate() == FaultRate(0, 0, len(control))
    assert review.fault_rate().interval() == (0.0, 1.0)
    review.decide(0, "drop")
    review.decide(control[0], "keep")
    review.decide(control[1], "drop")
    assert review.fault_rate() == FaultRate(1, 2, len(control))
    assert "1 of 2 are faulty: 50%" in review.fault_rate().text()
    # Wilson for 1 of 10 and z = 1.96, by hand: centre 0.2110, half width 0.1932
    assert FaultRate(1, 10, 10).interval() == pytest.approx((0.0179, 0.4042), abs=1e-4)


def test_the_tools_draw_and_apply(tmp_path: Path) -> None:
    draw_tool, apply_tool = SAMPLE_TOOLS
    path, out, final = tmp_path / "rows.csv", tmp_path / "sample.jsonl", tmp_path / "final.jsonl"
    texts = [f"the {word} is {number} days late" for number, word in enumerate(["card", "parcel", "refund"] * 10)]
    body = [f"{text},{'card' if 'card' in text else 'order'}" for text in texts]
    path.write_text("\n".join(["text,label", *body, "call me at jane@example.com,card", "nothing,", ""]))
    result = draw_tool.call(path=path, n=8, out=out)
    assert result.rows == 8
    assert {"rows", "out"} <= result.model_dump(mode="json").keys()
    assert "8 rows" in result.text()
    with pytest.raises(UserError, match="exists already"):
        draw_tool.call(path=path, n=8, out=out)
    review = Review(out)
    assert [item.line for item in review.items][:2] == [32, 33], "what gives something away before what is left out"
    review.decide(0, "edit", chat("call me", "card"))
    review.decide(1, "drop")
    done = apply_tool.call(path=path, sample=out, out=final)
    assert (done.in_rows, done.out_rows, done.removed, done.changed, done.undecided) == (32, 31, 1, 1, 6)
    kept = [json.loads(line) for line in final.read_text().splitlines()]
    assert kept[-1] == chat("call me", "card")
    assert len(Path(done.log).read_text().splitlines()) == 2
    assert "32" in done.text()
    path.write_text(path.read_text().replace("jane@", "john@"))
    with pytest.raises(UserError, match="not in the file as they were"):
        apply_tool.call(path=path, sample=out, out=tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()


def test_a_row_that_cannot_be_trained_on_is_removed_unless_it_was_edited(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [chat("one"), {"messages": []}, {"messages": []}]))
    source = open_source(path)
    build = row_builder(path, source.columns, detect_source(source))
    decision = Decision(line=3, sha256=row_hash({"messages": []}), decision="edit", row=chat("three"))
    done = apply_file(source, build, [decision], tmp_path / "out.jsonl", tmp_path / "log.jsonl")
    assert (done.in_rows, done.out_rows, done.removed, done.changed) == (3, 2, 1, 1)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(entry["line"], entry["action"], entry["codes"]) for entry in log] == [
        (2, "removed", ["missing_messages"]),
        (3, "changed", ["review_edit"]),
    ]
    kept = decision.model_copy(update={"decision": "keep", "row": None})
    with pytest.raises(UserError, match="cannot be kept"):
        apply_file(source, build, [kept], tmp_path / "a.jsonl", tmp_path / "b.jsonl")
