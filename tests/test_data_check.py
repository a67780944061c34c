"""Checks: structure errors and quality warnings, each with its line and a fix."""

from __future__ import annotations

from typing import Any

import pytest

from executor.data.check import OPENAI_LEAST, Target, check
from executor.data.labels import spellings, typing_errors
from executor.data.problem import Problem

Row = dict[str, Any]


def chat(user: str, assistant: Any = "fine", **more: Any) -> Row:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def found(rows: list[Any], target: Target = "local", **options: Any) -> list[Problem]:
    return check(rows, list(range(1, len(rows) + 1)), target, **options)


def codes(rows: list[Any], target: Target = "local", **options: Any) -> dict[str, list[int | None]]:
    by_code: dict[str, list[int | None]] = {}
    for problem in found(rows, target, **options):
        by_code.setdefault(problem.code, []).append(problem.line)
    return by_code


def turns(*messages: Any) -> Row:
    return {"messages": list(messages)}


USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}


def call(arguments: Any) -> Row:
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({}, "missing_messages"),
        ({"messages": []}, "missing_messages"),
        ({"messages": "x"}, "bad_messages"),
        (turns("x"), "bad_message"),
        (turns({"content": "x"}, REPLY), "missing_role"),
        (turns({"role": "boss", "content": "x"}, REPLY), "bad_role"),
        (turns({"role": "user"}, REPLY), "missing_content"),
        (turns({"role": "user", "content": 3}, REPLY), "bad_content"),
        (turns({"role": "user", "content": ["x"]}, REPLY), "bad_content"),
        (turns(USER), "no_reply"),
        (turns(USER, {"role": "assistant", "content": " "}), "no_reply"),
        (turns(USER, {**REPLY, "weight": 0.5}), "bad_weight"),
        (turns(USER, call("{bad")), "bad_tool_arguments"),
        (turns(USER, {**REPLY, "tool_calls": "f()"}), "bad_tool_calls"),
        (turns(USER, {**REPLY, "tool_calls": [{"function": {}}]}), "bad_tool_calls"),
        ({**turns({"role": "user", "content": "<image><image>"}, REPLY), "images": ["a"]}, "media_mismatch"),
    ],
)
def test_errors_of_structure(row: Row, code: str) -> None:
    problem = next(p for p in found([chat("a good row"), row]) if p.code == code)
    assert (problem.severity, problem.line) == ("error", 2)
    assert problem.message
    assert problem.fix


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (turns(USER, REPLY, USER), "ends_without_reply"),
        (turns(REPLY), "no_user"),
        (turns(USER, {"role": "system", "content": "x"}, REPLY), "system_not_first"),
        (turns(USER, {"role": "assistant", "content": ""}, USER, REPLY), "empty_content"),
        (turns(USER, call('"{}"')), "double_encoded_arguments"),
        (chat("Dear {{name}}, hello"), "placeholder"),
        (chat("hello", "N/A"), "placeholder"),
        (chat("write to jane.roe@example.com"), "pii_email"),
        (chat("call +44 20 7946 0958 now"), "pii_phone"),
        (chat("Le cafÃ© est bon"), "mojibake"),
        (chat("it\u00e2\u20ac\u2122s broken"), "mojibake"),
        (chat("eat", "Eat a banana! " * 2000), "repetition"),
    ],
)
def test_warnings_about_one_row(row: Row, code: str) -> None:
    problems = found([chat("a good row"), row])
    assert [(p.severity, p.line) for p in problems if p.code == code] == [("warning", 2)]


@pytest.mark.parametrize("text", ["it costs 12.50", "on 2024-05-17 10:30", "order 12345678", "école, naïve, Zürich, ’"])
def test_harmless_texts_raise_nothing(text: str) -> None:
    assert found([chat(text)]) == []


def test_well_formed_tool_calls_raise_nothing() -> None:
    rows = [turns(USER, call({"x": 1}), {"role": "tool", "content": "1"}), turns({**USER, "content": "yo"}, call("{}"))]
    assert found(rows) == []


def test_duplicates_near_duplicates_and_conflicts_are_told_apart() -> None:
    rows = [
        chat("Where is my new card?", "arrival"),
        chat("Where is my new card?", "arrival"),
        chat("Where is my new card ?!", "arrival"),
        chat("Why was I charged twice?", "fee"),
        chat("why was I  charged twice?", "refund"),
        chat("Can I change my address?", "address"),
    ]
    assert codes(rows) == {"exact_duplicate": [2], "near_duplicate": [3], "conflicting_answers": [4, 5]}


def test_label_variants_typing_errors_and_imbalance() -> None:
    words = [
        f"{a} {b} {c}" for a in ("red", "slow", "odd", "warm") for b in ("cat", "jug", "fox") for c in ("won", "ate")
    ]
    rows = [chat(f"{word} {i}", "billing") for i, word in enumerate(words)]
    rows += [
        chat("quite another text", " Billing "),
        chat("something else again", "biling"),
        chat("unlike it", "refund"),
    ]
    by_code = codes(rows)
    assert by_code["label_variant"] == [25, 26]
    assert by_code["class_imbalance"] == [None]


def test_labels_that_differ_on_purpose_stay_apart() -> None:
    assert spellings(["-1", "1", "-1", "1"]) == {}
    assert spellings(["top up", "Top_Up", "Top_Up"]) == {"top up": "Top_Up"}
    assert typing_errors({"invoice_1": 50, "invoice_2": 1}) == {}
    assert typing_errors({"high": 50, "nigh": 1}) == {}
    assert typing_errors({"billing": 50, "bililng": 1}) == {"bililng": "billing"}


def test_length_is_only_judged_with_a_counter() -> None:
    rows = [chat("one two three four five six", "seven")]
    assert found(rows) == []

    def words(messages: list[Row]) -> int:
        return sum(len(turn["content"].split()) for turn in messages)

    assert codes(rows, count_tokens=words, context=6) == {"too_long": [1]}
    assert codes(rows, count_tokens=words, context=7) == {}


def test_targets_have_their_own_rules() -> None:
    animals = ["otter", "badger", "heron", "walrus", "lynx", "gecko", "ibis", "tapir", "quokka", "newt"]
    rows = [chat(f"what does the {animal} eat", f"{animal} food") for animal in animals]
    assert len(rows) == OPENAI_LEAST
    assert codes(rows, "openai") == {}
    assert codes(rows[:-1], "openai") == {"too_few_rows": [None]}
    assert codes([turns(USER, USER, REPLY)], "together") == {"roles_do_not_alternate": [1]}


def test_errors_come_first_and_then_the_lines_in_order() -> None:
    problems = found([chat("a@b.org"), turns(USER), chat("c@d.org"), {}])
    assert [(p.severity, p.line) for p in problems] == [("error", 2), ("error", 4), ("warning", 1), ("warning", 3)]
