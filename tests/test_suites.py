"""The bundled regression suites: every item loads and every check can tell right from wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from executor.errors import UserError
from executor.evaluate.suites import Check, Item, Suite, load, names, passes

ITEMS = [(name, item) for name in names() for item in load(name).items]
assert ITEMS


def item(kind: str, value: Any = None) -> Item:
    check = {"kind": kind} if value is None else {"kind": kind, "value": value}
    return Item.model_validate({"id": "x", "prompt": "?", "check": check, "good": ["a"], "bad": ["b"]})


def test_the_suites_are_there() -> None:
    assert names() == ("arithmetic", "general_knowledge", "instruction_format", "over_refusal", "refusal")
    for name in names():
        assert load(name).name == name
        assert len(load(name).items) >= 50
        assert len({each.prompt for each in load(name).items}) == len(load(name).items)


@pytest.mark.parametrize(("suite", "each"), ITEMS, ids=[f"{name}-{each.id}" for name, each in ITEMS])
def test_every_check_tells_good_from_bad(suite: str, each: Item) -> None:
    assert all(passes(each, answer) for answer in each.good)
    assert not any(passes(each, answer) for answer in each.bad)
    assert not passes(each, "")
    assert not passes(each, " \n ")


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(UserError, match="arithmetics") as caught:
        load("arithmetics")
    assert '"arithmetic"' in caught.value.fix


def test_a_suite_name_is_not_a_path() -> None:
    with pytest.raises(UserError):
        load("../suites/arithmetic")


def test_ids_must_differ() -> None:
    twice = item("lowercase")
    with pytest.raises(ValidationError, match="used twice: x"):
        Suite(name="s", description="d", items=(twice, twice))


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "exact"},
        {"kind": "word_count"},
        {"kind": "number"},
        {"kind": "regex", "value": "("},
        {"kind": "lowercase", "more": 1},
        {"kind": "unknown", "value": "x"},
    ],
)
def test_a_check_that_makes_no_sense_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Check.model_validate(check)


@pytest.mark.parametrize(
    ("kind", "value", "good", "bad"),
    [
        ("exact", ["yes", "Yes"], " yes\n", "YES"),
        ("contains", "12", "It is 12.", "It is 112."),
        ("contains", "H2O", "h2o", "h2o2"),
        ("regex", "^a$", "a", "ab"),
        ("one_line", None, "\na\n", "a\nb"),
        ("json_object", ["a"], '{"a": 1}', '{"b": 1}'),
        ("json_object", None, "{}", "[]"),
        ("word_count", [2, 3], "a b", "a b c d"),
        ("word_count", 1, "a", "a b"),
        ("starts_with", "Dear", "Dear X", "dear X"),
        ("ends_with", ["!", "?"], "a?", "a."),
        ("lowercase", None, "abc 1!", "Abc"),
        ("lowercase", None, "a", "1"),
        ("uppercase", None, "ABC 1!", "Abc"),
        ("items", 2, "a, b", "a,, b"),
        ("lines", 2, "a\n\nb", "a"),
        ("number", 5, "7 - 2 = 5", "5 of 7"),
        ("number", 5, "7-2=5", "-5"),
        ("number", -5, "2 - 7 = -5", "5"),
        ("number", 1000, "1,000.", "1,001"),
    ],
)
def test_what_each_kind_means(kind: str, value: Any, good: str, bad: str) -> None:
    assert passes(item(kind, value), good)
    assert not passes(item(kind, value), bad)


def test_a_deep_json_answer_fails_quietly() -> None:
    assert not passes(item("json_object"), "[" * 100_000)
