"""Judges of the set's own format and style, its labels, system messages and slices."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from executor.data.batch import Batch
from executor.data.judge.answer_format import AnswerFormat
from executor.data.judge.label_names import LabelNames
from executor.data.judge.slices import Slices
from executor.data.judge.style import Style
from executor.data.judge.systems import Systems
from executor.data.problem import Problem
from executor.errors import UserError

Row = dict[str, Any]
Found = list[tuple[str, int | None]]
NAMES = ["Ann", "Bo", "Cem", "Dana", "Eli", "Fay", "Gus", "Hana"]
PARTS = ["Your parcel left on Monday", "The refund takes a few days", "Please sign in again", "A courier will ring you"]
MORE = [
    "and the number is on the label",
    "so nothing else is needed",
    "as our team has seen the form",
    "from the depot",
]


def chat(user: str, assistant: str, system: str = "") -> Row:
    lead = [{"role": "system", "content": system}] if system else []
    return {"messages": [*lead, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def answered(answers: list[str], judge: Any) -> list[Problem]:
    rows = [chat(f"question {i}", answer) for i, answer in enumerate(answers)]
    for first in range(0, len(rows), 500):
        part = rows[first : first + 500]
        assert judge.add(Batch.of(part, range(first + 1, first + 1 + len(part)))) == []
    found: list[Problem] = judge.finish()
    return found


def short(problems: list[Problem]) -> Found:
    return [(problem.code, problem.line) for problem in problems]


def changed(answers: list[str], change: Callable[[str, int], str], times: int = 100) -> set[int]:
    """Change some answers in place; their lines."""
    places = random.Random(3).sample(range(len(answers)), times)
    for count, place in enumerate(places):
        answers[place] = change(answers[place], count)
    return {place + 1 for place in places}


def assert_named(problems: list[Problem], code: str, lines: set[int]) -> None:
    named = {problem.line for problem in problems if problem.code == code}
    assert len(named & lines) >= 0.95 * len(lines)
    assert len(named & lines) >= 0.95 * len(named)


def orders(n: int) -> list[str]:
    values = [{"name": NAMES[i % 8], "pieces": i % 7, "city": None if i % 5 else "Ulm"} for i in range(n)]
    return [json.dumps(value) for value in values]


def sentences(n: int) -> list[str]:
    choose = random.Random(5)
    return [f"{choose.choice(PARTS)} {choose.choice(MORE)}, number {i}." for i in range(n)]


OFF = ["Here it is: {}", "```json\n{}\n```", "I do not know.", "{}.", "[{}]"]


def test_rows_outside_a_json_set_are_named_with_the_share() -> None:
    answers = orders(2500)
    lines = changed(answers, lambda text, i: OFF[i % len(OFF)].format(text))
    problems = answered(answers, AnswerFormat())
    assert_named(problems, "off_format", lines)
    assert "96 % of the 2500 answers are a JSON object" in problems[0].message


def test_keys_types_and_double_encoding_of_json_answers() -> None:
    answers = orders(400)
    answers[10] = '{"name": "Ann", "pieces": 3}'
    answers[20] = '{"name": "Ann", "pieces": 3, "city": "Ulm", "colour": "red"}'
    answers[30] = '{"Name": "Ann", "pieces": 3, "city": null}'
    answers[40] = '{"name": "Ann", "pieces": "three", "city": null}'
    answers[50] = json.dumps(answers[50])
    answers[60] = answers[60].replace('"', '\\"')
    problems = answered(answers, AnswerFormat())
    keys = [("off_format_keys", 11), ("off_format_keys", 21), ("off_format_keys", 31)]
    encoded = [("double_encoded_answer", 51), ("double_encoded_answer", 61)]
    assert short(problems) == [*encoded, *keys, ("off_format_types", 41)]
    messages = " ".join(problem.message for problem in problems)
    for word in ('lacks the key "city"', 'has the key "colour"', 'the value of "pieces" is text'):
        assert word in messages


def test_answers_with_optional_keys_have_no_fixed_keys() -> None:
    answers = [json.dumps({"intent": "play", f"slot_{i % 30}": "x"}) for i in range(600)]
    assert answered(answers, AnswerFormat()) == []


@pytest.mark.parametrize(
    ("answers", "odd"),
    [
        ([f"{i * 3}.50" for i in range(100)], "about four"),
        ([f"- item {i}\n- item {i + 1}" for i in range(100)], "item one and item two"),
        ([f"<order>{i}</order>" for i in range(100)], "order 4"),
        ([f"```python\nprint({i})\n```" for i in range(100)], "print(4)"),
        ([f"[{i}, {i + 1}]" for i in range(100)], "4, 5"),
        (sentences(100), '{"answer": "It left on Monday."}'),
        (sentences(100), "- open the settings\n- choose the first"),
        (sentences(100), "First line of it\nand another line of it"),
    ],
)
def test_other_formats(answers: list[str], odd: str) -> None:
    assert answered(answers, AnswerFormat()) == []
    answers[33] = odd
    assert short(answered(answers, AnswerFormat())) == [("off_format", 34)]


def test_a_set_of_mixed_formats_has_none() -> None:
    mixed = [text for texts in zip(sentences(60), orders(60), strict=True) for text in texts]
    assert answered(mixed, AnswerFormat()) == []


STYLES: dict[str, Callable[[str, int], str]] = {
    "capitals": lambda text, i: text.upper(),
    "no capitals": lambda text, i: text.lower(),
    "emoji": lambda text, i: text + " 😀",
    "markdown": lambda text, i: f"**Note** {text}",
    "long": lambda text, i: " ".join([text] * 9),
    "casual": lambda text, i: "Hey, " + text,
    "informal": lambda text, i: f"{text[:-1]}, don't worry, it's fine!!",
}


@pytest.mark.parametrize("kind", STYLES)
def test_a_hundred_answers_in_another_style_are_found(kind: str) -> None:
    answers = sentences(2600)
    lines = changed(answers, STYLES[kind])
    problems = answered(answers, Style())
    assert_named(problems, "style_outlier", lines)
    assert len({problem.line for problem in problems}) == len(problems)


def test_style_needs_a_style() -> None:
    odd = "THIS ONE SHOUTS AT THE READER."
    assert answered([*sentences(28), odd], Style()) == []
    assert answered([text if i % 3 else text.upper() for i, text in enumerate(sentences(90))], Style()) == []
    assert answered(["billing", "refund"] * 50 + ["REFUND NOW"], Style()) == []
    assert short(answered([*sentences(60), odd], Style())) == [("style_outlier", 61)]


LABELS = ["card_arrival", "exchange_rate", "lost_card", "pin_blocked", "top_up_failed"]


def labelled(n: int) -> list[str]:
    return [LABELS[i % len(LABELS)] for i in range(n)]


def test_label_variants_and_typing_errors() -> None:
    answers = labelled(500)
    answers[3], answers[4], answers[5] = "Pin Blocked", "top-up-failed ", "card_arival"
    judge = LabelNames()
    assert short(answered(answers, judge)) == [("label_variant", 4), ("label_variant", 5), ("label_variant", 6)]
    assert judge.better == {
        "Pin Blocked": "pin_blocked",
        "top-up-failed ": "top_up_failed",
        "card_arival": "card_arrival",
    }


def test_a_hundred_planted_label_variants_and_comments_are_found() -> None:
    spelled: list[Callable[[str], str]] = [str.upper, str.title, lambda text: text.replace("_", " ")]
    answers = labelled(4000)
    lines = changed(answers, lambda text, i: spelled[i % 3](text))
    assert_named(answered(answers, LabelNames()), "label_variant", lines)
    answers = labelled(4000)
    lines = changed(answers, lambda text, i: f"The label of message {i} is: {text}.")
    problems = answered(answers, LabelNames())
    assert_named(problems, "off_format", lines)
    assert {problem.code for problem in problems} == {"off_format"}


def test_rare_labels_and_imbalance_are_told_of_once() -> None:
    answers = labelled(400) + ["beneficiary"] * 3
    problems = answered(answers, LabelNames())
    assert short(problems) == [("class_imbalance", None), ("rare_label", None)]
    assert '"beneficiary" (3)' in problems[1].message
    assert answered(labelled(400), LabelNames()) == []


def test_free_text_has_no_labels() -> None:
    assert answered(sentences(6000), LabelNames()) == []
    assert answered([], LabelNames()) == []


def with_system(texts: list[str]) -> list[Problem]:
    judge = Systems()
    rows = [chat(f"question {i}", "fine", text) for i, text in enumerate(texts)]
    judge.add(Batch.of(rows, range(1, len(rows) + 1)))
    return judge.finish()


PROMPT = "You answer questions of customers of a small shop."


def test_rows_without_a_system_message_among_rows_with_one() -> None:
    assert short(with_system([PROMPT] * 30 + [""] + [PROMPT])) == [("missing_system_prompt", 31)]
    assert short(with_system([PROMPT] * 10 + [""] * 30)) == [("missing_system_prompt", None)]
    assert with_system([PROMPT] * 30) == with_system([""] * 30) == []


def test_other_spellings_of_a_system_message() -> None:
    typed = PROMPT.replace("customers", "custmers")
    texts = [PROMPT] * 30 + [PROMPT.replace(" a ", "  a "), PROMPT.rstrip("."), typed, "You translate recipes."]
    assert short(with_system(texts)) == [("system_prompt_variant", line) for line in (31, 32, 33)]


def test_many_system_messages() -> None:
    assert short(with_system([f"You are {name} number {i}, a clerk." for i in range(4) for name in NAMES])) == [
        ("many_system_prompts", None)
    ]
    assert with_system([f"You are {name}, a clerk." for name in NAMES * 5]) == []


def test_thin_slices_are_counted_where_rows_are_marked() -> None:
    judge = Slices(["refund", "voucher"])
    rows = [chat(f"question {i}", "fine") for i in range(60)]
    marks = ["edge_case" if i % 20 == 0 else "refund" if i % 2 else "" for i in range(60)]
    judge.add(Batch.of(rows, range(1, 61)), marks)
    problems = judge.finish()
    assert [(p.code, p.message.split(" of ")[0]) for p in problems] == [
        ("thin_slice", "no row"),
        ("thin_slice", "only 3"),
    ]
    with pytest.raises(UserError):
        judge.add(Batch.of(rows, range(1, 61)), ["refund"])


def test_lengths_far_beyond_the_usual_are_thin() -> None:
    def long(times: int) -> list[Problem]:
        judge = Slices()
        rows = [chat("word " * (400 if i < times else 6 + i % 9), "fine") for i in range(400)]
        judge.add(Batch.of(rows, range(1, 401)))
        return judge.finish()

    assert [(p.code, p.field) for p in long(3)] == [("thin_slice", "user")]
    assert long(0) == long(60) == []
