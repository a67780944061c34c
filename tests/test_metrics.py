"""What counts as right, from strict to lenient, and what form an answer must have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from executor.errors import UsageError, UserError
from executor.evaluate.form import form_of, inferred_patterns, inferred_schema
from executor.evaluate.metrics import METRICS, choose, field_f1, macro_f1, rouge_l
from executor.evaluate.reading import calls_in, normal, number_in
from executor.evaluate.score import macro_f1_interval, make_scorer
from executor.spec import DataSpec, EvaluateSpec, FormSpec
from tools.judging import form_of as form_of_words

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)

CALL = '[{"type": "function", "id": "1", "function": {"name": "f", "arguments": "{\\"a\\": 2, \\"b\\": 1}"}}]'


def data(kind: str, labels: tuple[str, ...] = ()) -> DataSpec:
    return DataSpec(path="/nowhere", version="0", kind=kind, labels=labels)


@pytest.mark.parametrize(
    ("metric", "output", "expected", "score"),
    [
        ("label", "red", "red", 1.0),
        ("label", "Red", "red", 0.0),
        ("normalised", "The Eiffel Tower.", "eiffel tower", 1.0),
        ("normalised", "Eiffel", "eiffel tower", 0.0),
        ("normalised", "!", "?", 0.0),
        ("contains", "It is called Rome, the capital.", "rome", 1.0),
        ("contains", "Romeo", "rome", 0.0),
        ("numeric", "The total is 1,250.50 euros", "1250.5", 1.0),
        ("numeric", "12 of 30", "12", 0.0),
        ("numeric", "none", "0", 0.0),
        ("numeric", "-3", "3", 0.0),
        ("numeric", "10000001", "10000002", 0.0),
        ("numeric", "0.3333333", "0.33333334", 1.0),
        ("numeric", "3,14", "3.14", 1.0),
        ("numeric", "1.250,50 €", "1250.5", 1.0),
        ("numeric", "1e400", "1e401", 0.0),
        ("numeric", "on 2024-05-07", "7", 1.0),
        ("numeric", "-$5", "-5", 1.0),
        ("numeric", "–5", "-5", 1.0),
        ("normalised", "A.", "A", 1.0),
        ("normalised", "hepatitis", "Hepatitis A", 0.0),
        ("normalised", "a cat", "The cat", 1.0),
        ("contains", "The answer is A.", "A", 1.0),
        ("contains", "the price is 2.5", "5", 0.0),
        ("contains", "1,500 in all", "500", 0.0),
        ("json", '{"p": 5.0}', '{"p": 5}', 1.0),
        ("normalised", "-5 °C", "5 °C", 0.0),
        ("normalised", "−5°C", "-5°C", 1.0),
        ("normalised", "C++", "C", 0.0),
        ("normalised", "C#", "C", 0.0),
        ("normalised", "**50 %**.", "50%", 1.0),
        ("normalised", "A+", "B+", 0.0),
        ("tool_calls", '<tool_call>\n{"name": "f", "arguments": {"b": 1, "a": 2}}\n</tool_call>', CALL, 1.0),
        ("tool_calls", '{"name": "f", "parameters": {"a": 2, "b": 1}}', CALL, 1.0),
        ("tool_calls", '{"name": "f", "arguments": {"a": 2}}', CALL, 0.0),
        ("tool_calls", "I would call f.", CALL, 0.0),
        ("tool_calls", "It is done.", "it is done", 1.0),
        ("json", '{"b": 1, "a": [1]}', '{"a": [1], "b": 1}', 1.0),
        ("json", '{"a": true}', '{"a": 1}', 0.0),
        ("field_f1", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 0.5),
        ("field_f1", "no json", '{"a": 1}', 0.0),
        ("rouge_l", "the cat sat", "the cat sat down", 6 / 7),
        ("chrf", "", "text", 0.0),
    ],
)
def test_what_is_right(metric: Any, output: str, expected: str, score: float) -> None:
    assert METRICS[metric].score(output, expected) == pytest.approx(score)


@pytest.mark.parametrize("name", METRICS)
@given(st.text(max_size=30), st.text(max_size=30))
def test_every_measure_is_a_share_and_binary_ones_are_right_or_wrong(name: Any, output: str, expected: str) -> None:
    score = METRICS[name].score(output, expected)
    assert 0 <= score <= 1
    assert not METRICS[name].binary or score in (0.0, 1.0)


@pytest.mark.parametrize(
    "name", [name for name in METRICS if name not in ("json", "field_f1", "numeric", "tool_calls")]
)
@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_an_answer_is_right_if_it_is_the_expected_one(name: Any, text: str) -> None:
    assert METRICS[name].score(text, text) == pytest.approx(1.0)


@given(JSON)
def test_json_is_right_if_it_is_the_expected_value(value: Any) -> None:
    text = json.dumps(value)
    assert METRICS["json"].score(text, text) == (value is not None)
    assert field_f1(text, text) == (1.0 if value is not None else 0.0)


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_number_is_read_exactly(value: Any) -> None:
    assert number_in(f"it is {value}") == value
    assert number_in(f"{value:,} in all") == value


@given(st.text(max_size=40))
def test_any_text_is_read(text: str) -> None:
    number_in(text)
    calls_in(text)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"items": {"$ref": "#/$defs/gone"}}}},
        {"anyOf": [{"$ref": "https://example.org/other.json"}]},
        {"$ref": "other.json"},
    ],
)
def test_a_reference_to_nothing_is_found_wherever_it_stands(tmp_path: Path, schema: dict[str, Any]) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    with pytest.raises(UserError, match="refers to what is not there"):
        form_of_words(str(file))


def test_a_long_pattern_is_no_file_name() -> None:
    assert form_of_words("(a|b)" * 200).regex


def test_calls_one_after_the_other_are_read() -> None:
    two = '{"name": "f", "arguments": {}}\n{"name": "g", "arguments": {"x": [1]}}'
    assert calls_in(two) == [("f", "{}"), ("g", '{"x": [1]}')]
    assert calls_in('{"name": "f"}') is None, "a person may have a name, too"
    assert calls_in('{"name": "f", "arguments": {}} and so on') is None


@given(st.text(max_size=20))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def test_macro_f1_weighs_every_label_alike() -> None:
    expected, outputs = ["a", "a", "a", "b"], ["a", "a", "a", "a"]
    assert macro_f1(expected, outputs) == pytest.approx((2 * 3 / (3 + 4) + 0) / 2)
    assert macro_f1(expected, expected) == 1.0
    score = macro_f1_interval(expected * 10, (["a", "a", "b", "b"]) * 10)
    assert 0 < score["low"] < score["value"] < score["high"] < 1
    assert macro_f1_interval(["a", "b"], ["x", "y"])["high"] > 0, "nothing right of two says little"


def test_rouge_takes_words_in_order() -> None:
    assert rouge_l("police killed the gunman", "the gunman police killed") == pytest.approx(0.5)
    assert rouge_l("", "") == 1.0


@pytest.mark.parametrize(
    ("kind", "answers", "metric"),
    [
        ("label", ["a", "b"], "label"),
        ("json", ['{"a": 1}'], "json"),
        ("text", ["12", "7.5", "1,000"], "numeric"),
        ("text", ["00123", "04711", "98765"], "exact"),
        ("text", [CALL, CALL], "tool_calls"),
        ("text", ["Paris", "New York", "the river Thames"], "normalised"),
        (
            "text",
            ["This is a longer answer that says why it is so.", "Another one of some length, to be sure."],
            "chrf",
        ),
    ],
)
def test_the_metric_follows_from_the_answers(kind: str, answers: list[str], metric: str) -> None:
    name, reason = choose(kind, answers)
    assert name == metric
    assert reason


# The form.


@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSON, min_size=1, max_size=3), min_size=1, max_size=6))
def test_every_training_answer_fulfils_the_inferred_schema(values: list[dict[str, Any]]) -> None:
    schema = inferred_schema([json.dumps(value) for value in values])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert all(validator.is_valid(value) for value in values)
    assert not validator.is_valid({"never seen": 1})


def test_a_missing_key_or_another_type_breaks_the_inferred_form() -> None:
    form = form_of(None, data("json"), ['{"city": "Rome", "guests": 2}', '{"city": "Oslo", "guests": 4, "note": "x"}'])
    assert form.holds('{"city": "Bern", "guests": 1}')
    for broken in (
        '{"city": "Bern"}',
        '{"city": "Bern", "guests": "one"}',
        '{"city": "Bern", "guests": 1, "x": 1}',
        "Bern",
    ):
        assert not form.holds(broken)


CODES = st.tuples(st.integers(0, 9999), st.sampled_from(["AB", "XYZ"])).map(lambda pair: f"{pair[1]}-{pair[0]:04d}")


@given(st.lists(CODES, min_size=20, max_size=40))
def test_codes_have_a_pattern_that_all_of_them_match(codes: list[str]) -> None:
    form = form_of(None, data("text"), codes)
    assert "pattern" in form.says
    assert all(map(form.holds, codes))
    for broken in ("AB-12", "ab-1234", "AB-1234 ", "The code is AB-1234", ""):
        assert not form.holds(broken)


def test_prose_has_no_pattern_but_a_length() -> None:
    answers = [f"The parcel number {n} arrives on Monday." for n in range(30)]
    assert inferred_patterns(answers) == []
    form = form_of(None, data("text"), answers)
    assert form.holds("It comes on Tuesday.")
    assert not form.holds("again and " * 20)
    assert not form.holds("one line\nand another")


def test_a_given_form_overrules_what_is_inferred(tmp_path: Any) -> None:
    schema = tmp_path / "answer.json"
    schema.write_text(json.dumps({"type": "object", "required": ["ok"]}))
    form = form_of(form_of_words(str(schema)), data("label", ("a", "b")), ["a", "b"])
    assert form.holds('{"ok": 1}')
    assert not form.holds("a")
    settings = EvaluateSpec(form=FormSpec(regex=r"[A-Z]\d"))
    score = make_scorer(data("text"), ["A1", "B2"], settings)
    assert score("C3", "A1")["format_compliance"] == 1.0
    assert score("C3x", "A1")["format_compliance"] == 0.0


def test_a_reference_in_a_schema_never_leaves_this_machine() -> None:
    form = form_of(FormSpec(json_schema={"$ref": "http://127.0.0.1:9/elsewhere.json"}), data("text"), ["x"])
    with pytest.raises(Exception, match="Unresolvable"):
        form.holds("{}")


@pytest.mark.parametrize(("words", "error"), [("[a-", UsageError), ("no/such/file.json", UserError)])
def test_a_form_that_cannot_be_read_is_one_line(words: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        form_of_words(words)


def test_something_that_is_no_schema_is_refused(tmp_path: Any) -> None:
    for text in ("[1]", '{"type": "objekt"}', "not json", '{"$ref": "http://127.0.0.1:9/a.json"}'):
        file = tmp_path / "bad.json"
        file.write_text(text)
        with pytest.raises(UserError):
            form_of_words(str(file))
