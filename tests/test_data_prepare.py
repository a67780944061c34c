"""The data path of `go`: cleaned, described, prompted, split, recorded; or refused with a reason."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from executor.data.prepare import Prepared, prepare, rows_to_test
from executor.data.rows import answer, asked
from executor.data.similar import overlap
from executor.data.task import Task, describe, system_prompt
from executor.errors import UserError
from executor.files import sha256_rows

LABELS = ("billing", "delivery", "refund")


def unlike(n: int, seed: int = 0) -> list[str]:
    """`n` texts that are no near-duplicates of each other."""
    rng = random.Random(seed)
    return ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(25)) for _ in range(n)]


def table(
    folder: Path, rows: list[tuple[str, str]], name: str = "data.csv", header: tuple[str, ...] = ("text", "label")
) -> Path:
    path = folder / name
    with open(path, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([header, *rows])
    return path


def tickets(n: int = 60, seed: int = 0) -> list[tuple[str, str]]:
    return [(text, LABELS[i % 3]) for i, text in enumerate(unlike(n, seed))]


def step(prepared: Prepared, name: str) -> dict[str, Any]:
    return next(entry for entry in prepared.lineage if entry["step"] == name)


def test_a_table_becomes_prompted_and_split_chat_rows(tmp_path: Path) -> None:
    prepared = prepare(table(tmp_path, tickets()))
    assert [len(prepared.train), len(prepared.validation), len(prepared.test)] == [42, 6, 12]
    assert (prepared.shape, prepared.task.kind, prepared.task.labels) == ("table", "label", LABELS)
    system, user, reply = prepared.train[0]["messages"]
    assert system["content"] == (
        "Classify the text into exactly one of these categories: billing, delivery, refund.\n"
        "Answer with the category only."
    )
    assert (user["role"], reply["role"]) == ("user", "assistant")
    assert len({row["messages"][0]["content"] for row in [*prepared.train, *prepared.test]}) == 1


def test_the_task_in_the_users_words_leads(tmp_path: Path) -> None:
    prepared = prepare(table(tmp_path, tickets()), task="Sort our support tickets.")
    assert prepared.train[0]["messages"][0]["content"].startswith("Sort our support tickets.\nCategories: billing, ")


def test_cleaning_is_recorded_line_by_line(tmp_path: Path) -> None:
    rows = tickets(60)
    rows += [("a text of its own", " Billing "), rows[0], ("which one is it", "billing"), ("Which one is it", "refund")]
    rows += [("", "billing"), ("no answer here", " ")]
    prepared = prepare(table(tmp_path, rows))
    assert step(prepared, "convert") == {"step": "convert", "rows_in": 66, "rows_out": 64, "lines": [66, 67]}
    assert step(prepared, "duplicates")["lines"] == [63]
    assert step(prepared, "conflicts")["lines"] == [64, 65]
    assert step(prepared, "split")["rows_out"] == 61
    assert prepared.task.labels == LABELS
    assert [(p.code, p.severity, p.line) for p in prepared.problems if p.line in (66, 67)] == [
        ("empty_content", "warning", 66), ("empty_content", "warning", 67),
    ], "the table is well formed; the two rows are left out"  # fmt: skip
    assert prepared.record()["counts"]["error"] == 0


def test_spellings_of_a_label_become_the_commonest(tmp_path: Path) -> None:
    rows = [*tickets(60), ("x y z w", "BILLING"), ("q r s t", "Billing")]
    prepared = prepare(table(tmp_path, rows))
    assert step(prepared, "label_spelling")["lines"] == [62, 63]
    assert {answer(row) for row in [*prepared.train, *prepared.validation, *prepared.test]} == set(LABELS)


def test_a_test_file_is_never_changed_and_never_trained_on(tmp_path: Path) -> None:
    data, held = tickets(60), tickets(15, seed=9)
    held += [data[0], (data[1][0] + " !", data[1][1]), ("only here to be tested", "fraud"), ("again a text", "REFUND")]
    prepared = prepare(table(tmp_path, data), test=table(tmp_path, held, "test.csv"))
    assert len(prepared.test) == 19
    assert [asked(row) for row in prepared.test] == [text for text, _ in held]
    assert step(prepared, "test_overlap")["lines"] == [2, 3]
    trained = [*prepared.train, *prepared.validation]
    assert len(trained) == 58
    assert not overlap([asked(row) for row in trained], [asked(row) for row in prepared.test])
    assert prepared.task.labels == ("billing", "delivery", "fraud", "refund")
    assert "fraud" in prepared.train[0]["messages"][0]["content"]
    assert [(p.code, p.line) for p in prepared.problems if p.code == "label_only_in_test"] == [
        ("label_only_in_test", 19)
    ]
    assert step(prepared, "test_label_spelling")["lines"] == [20]
    assert prepared.record()["test_source"]["path"].endswith("test.csv")


def test_the_record_is_repeatable_and_names_its_sources(tmp_path: Path) -> None:
    path = table(tmp_path, tickets())
    record = prepare(path, seed=1).record()
    assert record == prepare(path, seed=1).record()
    assert record["version"] != prepare(path, seed=2).record()["version"]
    assert record["splits"]["train"] == {"rows": 42, "sha256": sha256_rows(prepare(path, seed=1).train)}
    assert record["source"]["encoding"] == "utf-8"
    assert record["test_source"] is None
    assert json.loads(json.dumps(record)) == record


def test_chat_rows_keep_their_own_system_message(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Own."},
                {"role": "user", "content": t},
                {"role": "assistant", "content": a},
            ]
        }
        for t, a in tickets(30)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {row["messages"][0]["content"] for row in prepare(path, task="Other.").train} == {"Own."}


def test_rows_end_with_the_reply(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": r, "content": c} for r, c in (("user", t), ("assistant", a), ("user", "thanks"))]}
        for t, a in tickets(30)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(path)
    assert {row["messages"][-1]["role"] for row in [*prepared.train, *prepared.test]} == {"assistant"}
    assert step(prepared, "after_reply")["lines"] == list(range(1, 31))


def test_a_mapping_chooses_the_columns_of_data_and_test(tmp_path: Path) -> None:
    rows = [(text, label, "x" * 40 + str(i)) for i, (text, label) in enumerate(tickets(40))]
    header = ("note", "kind", "long")
    path = table(tmp_path, rows, header=header)  # type: ignore[arg-type]
    held = table(tmp_path, [("abc def", "refund", "-")], "test.csv", header)  # type: ignore[list-item]
    prepared = prepare(path, test=held, mapping={"user": "note", "assistant": "kind"})
    assert prepared.test[0]["messages"][0]["content"].startswith("Classify the note into")
    assert asked(prepared.test[0]) == "abc def"
    with pytest.raises(UserError, match="no column"):
        prepare(path, test=table(tmp_path, [("a", "b")], "other.csv"), mapping={"user": "note", "assistant": "kind"})


def test_free_text_may_be_answered_in_two_ways(tmp_path: Path) -> None:
    rows = [(text, f"the answer to {text} in many words") for text in unlike(30)]
    rows += [("hello", "Hi, how can I help you today?"), ("hello", "Good morning, what can I do for you?")]
    prepared = prepare(table(tmp_path, rows, header=("question", "answer")))
    assert prepared.task.kind == "text"
    assert step(prepared, "split")["rows_out"] == 32
    assert [turn["role"] for turn in prepared.train[0]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("rows", "header", "word"),
    [
        ([("a",), ("b",)], ("text",), "only one column"),
        ([("hello", "greet")], ("text", "label"), "1 of 1 rows"),
        (tickets(19), ("text", "label"), "19 of 19 rows"),
        ([(text, "same") for text in unlike(30)], ("text", "label"), "same answer"),
    ],
)
def test_data_that_cannot_carry_a_tuning_is_refused(
    tmp_path: Path, rows: list[Any], header: tuple[str, ...], word: str
) -> None:
    with pytest.raises(UserError, match=word) as raised:
        prepare(table(tmp_path, rows, header=header))
    assert raised.value.fix
    assert raised.value.where.endswith("data.csv")


def test_too_few_rows_say_how_many_and_what_is_advisable(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        prepare(table(tmp_path, [*tickets(12), ("", "billing")]))
    assert "12 of 13 rows" in raised.value.what
    assert "at least 20" in raised.value.what
    assert "OpenAI requires at least 10" in raised.value.fix
    assert "line 14" in raised.value.fix


def test_data_that_is_its_own_test_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, tickets())
    with pytest.raises(UserError, match="ask what the test asks"):
        prepare(path, test=path)


def test_rows_that_are_all_alike_cannot_be_split(tmp_path: Path) -> None:
    rows = [("the same text" + "!" * i, LABELS[0]) for i in range(30)]
    rows[-1] = ("the same text" + " ?" * 3, LABELS[0])
    with pytest.raises(UserError):
        prepare(table(tmp_path, rows))


def chat(reply: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": reply}]}


def test_kinds_of_answers() -> None:
    assert describe([chat(label) for label in ("b", "a", "b", "a")]) == Task(
        kind="label", labels=("a", "b"), longest_answer=1
    )
    objects = [chat(json.dumps({"name": str(i), "age": i})) for i in range(4)]
    assert describe(objects).kind == "json"
    assert describe([*objects, chat('{"name": "x"}')]).json_keys == ("name", "age")
    assert describe([chat(f"a sentence number {i}") for i in range(9)]).kind == "text"
    assert describe([]).kind == "text"


def test_system_prompts() -> None:
    label = Task(kind="label", labels=("a, b", "c"))
    assert "a, b; c" in system_prompt(label, None, None)
    assert system_prompt(Task(kind="json", json_keys=("x", "y")), "mail", None).startswith("Read the mail ")
    assert system_prompt(Task(kind="text"), "mail", None) == ""
    assert system_prompt(Task(kind="text"), "mail", " Be kind. ") == "Be kind."


def test_a_later_test_file_is_prepared_as_the_run_was(tmp_path: Path) -> None:
    """The same system message and label spelling, and nothing behind the last reply: no answer in a prompt."""
    lead = {"role": "system", "content": "Sort it."}
    trained = [
        {"messages": [lead, {"role": "user", "content": f"text {i}"}, {"role": "assistant", "content": label}]}
        for i, label in enumerate(["order_status", "refund"] * 6)
    ]
    told = [{"role": "user", "content": "where is it"}, {"role": "assistant", "content": " Order Status"}]
    rows = [{"messages": [*told, {"role": "user", "content": "thanks"}]}]
    file = tmp_path / "later.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ((row,), known) = rows_to_test(file, trained, None)
    assert [turn["content"] for turn in row["messages"]] == ["Sort it.", "where is it", "order_status"]
    assert known == []
