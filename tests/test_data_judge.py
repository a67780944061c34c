"""Judges of content: defects planted into clean support answers are found, clean answers are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.data.batch import Batch
from executor.data.judge import JUDGES, Judge
from executor.data.judge.content import Content
from executor.data.judge.leftovers import mojibake, placeholder
from executor.data.judge.refusals import refusal
from executor.data.problem import Problem

Row = dict[str, Any]
THINGS = ["refund", "order", "parcel", "invoice", "card", "password", "subscription", "account", "delivery", "voucher"]
EVENTS = ["has arrived late", "was charged twice", "has expired", "was cancelled", "was sent back", "cannot be found"]
TIMES = ["yesterday", "last week", "this morning", "on Monday", "two days ago", "after the update", "in March"]
STEPS = [
    "open the settings and choose the first entry",
    "reply with the number on the receipt",
    "wait until our team has checked the payment",
    "sign in with the address that you gave us",
    "print the label and put it on the box",
    "ask your bank for the date of the transfer",
    "keep the original packing for the courier",
]
ENDS = ["within two working days", "before the end of the month", "as soon as the form arrives", "without any cost"]


def chat(user: str, assistant: str, system: str = "") -> Row:
    lead = [{"role": "system", "content": system}] if system else []
    return {"messages": [*lead, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def clean(n: int, seed: int = 0) -> list[Row]:
    """Rows of customer support: a question, and an answer of two sentences."""
    choose = random.Random(seed)
    rows = []
    for i in range(n):
        thing, step = choose.choice(THINGS), choose.choice(STEPS)
        question = f"My {thing} {i} {choose.choice(EVENTS)} {choose.choice(TIMES)}, what can I do?"
        answer = f"Please {step}, so that we can look at your {thing} {choose.choice(ENDS)}."
        rows.append(chat(question, f"{answer} We will write to you {choose.choice(ENDS)} about number {i}."))
    return rows


def judged(judges: list[Judge], rows: list[Row], size: int = 700) -> list[Problem]:
    found = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        batch = Batch.of(part, range(first + 1, first + 1 + len(part)))
        found += [problem for judge in judges for problem in judge.add(batch)]
    return found + [problem for judge in judges for problem in judge.finish()]


def content(rows: list[Row]) -> dict[str, list[int | None]]:
    by_code: dict[str, list[int | None]] = {}
    for problem in judged([Content()], rows):
        by_code.setdefault(problem.code, []).append(problem.line)
    return by_code


def planted(change: Callable[[str, int], str], n: int = 3000, times: int = 100) -> tuple[list[Row], set[int]]:
    """Clean rows of which some have a changed answer, and the lines of those."""
    rows = clean(n)
    places = random.Random(7).sample(range(n), times)
    for count, place in enumerate(places):
        turn = rows[place]["messages"][-1]
        turn["content"] = change(turn["content"], count)
    return rows, {place + 1 for place in places}


def assert_found(rows: list[Row], lines: set[int], code: str, problems: list[Problem]) -> None:
    """Recall and precision of at least 0.95, and no other row is named for anything."""
    named = {p.line for p in problems if p.code == code}
    assert len(named & lines) >= 0.95 * len(lines), sorted(lines - named)[:5]
    assert len(named & lines) >= 0.95 * len(named)
    assert {p.line for p in problems if p.line is not None} <= lines


def as_cp1252(text: str, count: int) -> str:
    word = ["café", "it’s", "10 £", "– so", "über", "5 €", "naïve", "“yes”", "señor", "½ price"][count % 10]
    wrong = "".join(
        bytes([byte]).decode("cp1252", "ignore") or bytes([byte]).decode("latin-1") for byte in word.encode()
    )
    return f"{text} {wrong}."


PLACEHOLDERS = ["{{name}}", "[INSERT NAME]", "<your name>", "[Your Company]", "TODO: add link", "lorem ipsum", "[name]"]
PLACEHOLDERS += ["{customer_name}", "[insert the date here]", "<insert link>", "{{ order.id }}", "[Customer Name]"]
FILLERS = ["N/A", "...", "TBD", "null", "nan", "None", "…", "todo", "-"]
REFUSALS = [
    "I cannot help with that.",
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I can’t help you with this.",
    "As an AI language model, I do not have access to accounts.",
    "I am unable to comply with your request.",
    "Sorry, I'm not able to answer that question.",
    "I cannot provide any information about this.",
    "As an AI, I don't have opinions.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "Mi dispiace, ma non posso aiutarti con questo.",
    "Desculpe, mas não posso ajudar com isso.",
    "Извините, но я не могу вам помочь.",
    "抱歉，我无法协助这个请求。",
    "申し訳ありませんが、お手伝いできません。",
]
LOOPS = ["Please wait a moment. ", "and then the same ", "no ", "Your order is on the way! ", "ha"]
TOKENS = ["<|im_start|>", "<|im_end|>", "[INST] {} [/INST]", "<s>{}", "{}</s>", "### Response:\n{}", "<|eot_id|>"]
TOKENS += ["<start_of_turn>model\n{}", "<<SYS>>{}"]
MARKUP = ["<b>{}</b>", "{}<br>", "<p>{}</p>", "{} Terms &amp; prices.", '<a href="x">{}</a>', "It&#39;s so. {}"]
KINDS: dict[str, Callable[[str, int], str]] = {
    "placeholder": lambda text, i: f"{text} {PLACEHOLDERS[i % len(PLACEHOLDERS)]}.",
    "refusal": lambda text, i: REFUSALS[i % len(REFUSALS)],
    "repetition": lambda text, i: text + " " + LOOPS[i % len(LOOPS)] * 30,
    "truncated_answer": lambda text, i: text[: text.rfind(" ", 0, len(text) // 2 + i % 40)].rstrip("."),
    "mojibake": as_cp1252,
    "control_characters": lambda text, i: text[:20] + "\x00\x07\x0b\x1b\x7f\x90"[i % 6] + text[20:],
    "html_markup": lambda text, i: MARKUP[i % len(MARKUP)].format(text),
    "template_tokens": lambda text, i: (
        TOKENS[i % len(TOKENS)].format(text) if "{}" in TOKENS[i % len(TOKENS)] else text + TOKENS[i % len(TOKENS)]
    ),
    "empty_answer": lambda text, i: ["\u200b", '""', "“”", "&nbsp;", "\ufeff\u200b"][i % 5],
}


@pytest.mark.parametrize("code", KINDS)
def test_a_hundred_planted_defects_are_found_and_nothing_else(code: str) -> None:
    rows, lines = planted(KINDS[code])
    assert_found(rows, lines, code, judged([Content()], rows))


def test_fillers_are_placeholders_unless_they_are_the_answer_of_many_rows() -> None:
    rows, lines = planted(lambda text, i: FILLERS[i % len(FILLERS)])
    assert_found(rows, lines, "placeholder", judged([Content()], rows))
    labels = [chat(f"message {i}", "none" if i % 4 else "spam") for i in range(80)]
    assert content(labels) == {}
    assert content([chat("hello", "N/A"), chat("hi", "fine")]) == {"placeholder": [1]}
    left = content([chat("hello", "TBD ."), chat("Where is it? TODO", "fine"), chat("LO QUIERO TODO", "x")])
    assert {code: sorted(lines) for code, lines in left.items()} == {"placeholder": [1, 2]}
    assert content([chat("{text}", "fine"), chat('{"text": 1}', "fine")]) == {"placeholder": [1]}


def test_clean_rows_raise_nothing_from_any_judge() -> None:
    assert judged([judge() for judge in JUDGES], clean(3000)) == []


@pytest.mark.parametrize(
    "text",
    [
        "We cannot refund orders after thirty days, but a voucher is possible.",
        "I'm sorry to hear that. Please restart the app.",
        "I can't see the payment yet. Could you send the receipt?",
        "You cannot help with that alone; ask a colleague.",
        "The model of the printer is on the back.",
        "We are unable to deliver to islands.",
    ],
)
def test_business_answers_are_no_refusals(text: str) -> None:
    assert refusal(text) is None


def test_a_set_about_declining_gets_one_warning() -> None:
    rows = clean(40)
    for row in rows[:30]:
        row["messages"][-1]["content"] = "I'm sorry, but I can't help with that."
    assert [(p.code, p.line) for p in judged([Content()], rows)] == [("refusal", None)]


@pytest.mark.parametrize(
    "text",
    [
        *("école, naïve, Zürich, ’", "NÃO É POSSÍVEL", "São Paulo, não", "Ã", "Ångström så – nå", "20 °C · ½ £"),
        *("Ελληνικά και άλλα", "Привет, Россия!", "שלום", "你好，世界", "ÄÖÜ äöü ß", "Â carreira", "âge, château"),
    ],
)
def test_letters_of_other_languages_are_no_mojibake(text: str) -> None:
    assert mojibake(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *('{"name": "Ann"}', "[name](https://example.org)", "f'{name}'", "${{ secrets.TOKEN }}", "a[0] = b[name]"),
        *("my todo list", "<b>name</b>", "x < your limit > y", "In Jinja you write {{ name }}.", "see [1]"),
        "Write a letter with placeholders such as [address].",
    ],
)
def test_code_and_links_are_no_placeholders(text: str) -> None:
    assert placeholder(text) is None


def test_markup_is_no_leftover_where_it_is_the_subject_or_the_rule() -> None:
    rows = clean(50)
    rows[3] = chat("How do I write bold text in HTML?", "Write <b>text</b> around the words.")
    assert content(rows) == {}
    for row in rows[:20]:
        row["messages"][-1]["content"] = "<p>" + row["messages"][-1]["content"] + "</p>"
    assert "html_markup" not in content(rows)


def test_a_faulty_system_message_is_named_once() -> None:
    rows = [chat(f"question {i} of many", f"The answer is number {i}.", "Dear {{company}} helper") for i in range(30)]
    assert content(rows) == {"placeholder": [1]}


def test_answers_without_punctuation_are_cut_off_only_in_a_set_that_has_it() -> None:
    rows = clean(200)
    rows[5]["messages"][-1]["content"] = "Please open the settings. Then choose the entry that says"
    assert content(rows) == {"truncated_answer": [6]}
    for row in rows:
        row["messages"][-1]["content"] = row["messages"][-1]["content"].rstrip(".")
    assert content(rows) == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Please open the settings, choose the entry and", '"and"'),
        ("Please open the settings, choose the entry,", '","'),
        ("Please open the settings (the grey wheel at the top", '"("'),
        ("Please say that your card was “lost at the", '"the"'),
        ("```python\nprint(1)\n", "```"),
    ],
)
def test_an_answer_that_is_certainly_cut_off_needs_no_others(answer: str, reason: str) -> None:
    problems = judged([Content()], [chat("hello there", answer), chat("hi there", "fine")])
    assert [(p.code, p.line) for p in problems] == [("truncated_answer", 1)]
    assert reason in problems[0].message


ANY_ROW = st.builds(chat, st.text(max_size=80), st.text(max_size=120), st.text(max_size=30))


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_ROW, max_size=30))
def test_no_text_breaks_a_judge(rows: list[Row]) -> None:
    for problem in judged([judge() for judge in JUDGES], rows, 8):
        assert problem.message
        assert problem.fix
        assert problem.severity == "warning"
        assert problem.line is None or 1 <= problem.line <= len(rows)
