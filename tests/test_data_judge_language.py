"""Judges of languages and of the distance to production."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.data.batch import Batch
from executor.data.judge.language import FIRST, Language
from executor.data.judge.production import LEAST, Mismatch
from executor.data.judge.told import kin, language
from executor.data.problem import Problem

Row = dict[str, Any]
THINGS = ["card", "parcel", "refund", "invoice", "order", "account"]
ENGLISH = "Please send us the number of your {}, and we will look at it as soon as we can."
OTHERS = {
    "de": "Bitte senden Sie uns die Nummer, und wir sehen uns das an, sobald es geht.",
    "fr": "Merci de nous envoyer le numéro, et nous vous répondrons dans les deux jours.",
    "es": "Por favor, envíe el número de su pedido y le responderemos en dos días.",
    "it": "La preghiamo di inviare il numero e le risponderemo con la data della consegna.",
    "pt": "Por favor, envie o número do seu pedido e responderemos em dois dias úteis.",
    "nl": "Stuur ons het nummer van de bestelling, dan kijken wij er zo snel mogelijk naar.",
    "sv": "Skicka numret till oss så tittar vi på det så snart som vi kan och svarar dig.",
    "pl": "Proszę wysłać nam numer zamówienia, a odpowiemy na to w ciągu dwóch dni.",
    "tr": "Lütfen bize sipariş numarasını gönderin, size iki gün içinde ve çok hızlı yanıt veririz.",
    "ru": "Пожалуйста, отправьте нам номер заказа, и мы ответим вам в течение двух дней.",
    "ja": "注文番号を送ってください。二日以内に返信します。",
    "zh": "请把订单号发给我们，我们会在两天内回复您。",
    "ko": "주문 번호를 보내 주시면 이틀 안에 답변해 드리겠습니다.",
    "el": "Στείλτε μας τον αριθμό της παραγγελίας και θα σας απαντήσουμε.",
}


def chat(user: str, assistant: str) -> Row:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def english(n: int) -> list[Row]:
    return [chat(f"Where is my {THINGS[i % 6]} and what can I do about it?", ENGLISH.format(i)) for i in range(n)]


def judged(judge: Any, rows: list[Row]) -> list[Problem]:
    for first in range(0, len(rows), 500):
        part = rows[first : first + 500]
        assert judge.add(Batch.of(part, range(first + 1, first + 1 + len(part)))) == []
    found: list[Problem] = judge.finish()
    return found


@pytest.mark.parametrize("code", OTHERS)
def test_languages_are_told(code: str) -> None:
    assert language(OTHERS[code]) == code
    assert language(ENGLISH) == "en"


@pytest.mark.parametrize(
    "text", ["card_arrival", "OK", "12.50", "Zürich", "Jean de la Cruz", "", "???", "Berlin Paris Rom"]
)
def test_labels_and_names_have_no_language(text: str) -> None:
    assert language(text) is None


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_every_text_has_a_known_language_or_none(text: str) -> None:
    told = language(text)
    assert told is None or kin(told, told)


def test_a_hundred_answers_in_another_language_are_found() -> None:
    rows = english(3000)
    places = random.Random(2).sample(range(3000), 100)
    for count, place in enumerate(places):
        rows[place]["messages"][-1]["content"] = list(OTHERS.values())[count % len(OTHERS)]
    problems = judged(Language(), rows)
    assert {(p.code, p.line) for p in problems} == {("other_language", place + 1) for place in places}


@pytest.mark.parametrize("code", ["ru", "zh", "de", "es", "nl"])
def test_another_language_is_seen_beyond_the_sample(code: str) -> None:
    rows = english(FIRST + 600)
    places = range(FIRST + 101, FIRST + 600, 100)
    for place in places:
        rows[place]["messages"][-1]["content"] = OTHERS[code]
    assert {p.line for p in judged(Language(), rows)} == {place + 1 for place in places}


def test_translations_are_meant() -> None:
    rows = [chat(f"Where is my {THINGS[i % 6]} and what can I do?", OTHERS["de"]) for i in range(60)]
    assert judged(Language(), rows) == []
    rows = english(60)
    rows[7] = chat("Please translate this for me: we will send it to you.", OTHERS["fr"])
    assert judged(Language(), rows) == []


def test_a_mix_of_languages_is_told_of_once() -> None:
    rows = english(180) + [chat(OTHERS["de"], OTHERS["de"])] * 20
    problems = judged(Language(), rows)
    assert [(p.code, p.line) for p in problems] == [("language_mix", None)]
    assert "English 90 %, German 10 %" in problems[0].message
    assert "line 181, 182" in problems[0].message
    thin = judged(Language(), english(500) + [chat(OTHERS["de"], OTHERS["de"])] * 4)
    assert [(p.code, p.message.split(";")[0]) for p in thin] == [
        ("thin_slice", "only 4 of 504 rows that tell are in German")
    ]


def prompts(n: int, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    verbs = ["change", "cancel", "find", "return", "pay for", "track", "renew"]
    whens = ["this week", "before Monday", "after the holiday", "in the app", "at the counter", "from abroad"]
    asked = [f"How do I {choose.choice(verbs)} my {choose.choice(THINGS)} {choose.choice(whens)}?" for _ in range(n)]
    return [f"{text} Number {choose.randrange(90)}." for text in asked]


def mismatch(production: list[str]) -> list[str]:
    problems = judged(Mismatch(production), [chat(text, "fine") for text in prompts(1200, 1)])
    assert {p.code for p in problems} <= {"production_mismatch"}
    return [p.message for p in problems]


def test_production_like_the_training_set_raises_nothing() -> None:
    assert mismatch(prompts(200, 2)) == []


@pytest.mark.parametrize(
    ("production", "what"),
    [
        ([text * 4 for text in prompts(150, 3)], "length: the median training prompt has"),
        ([text.lower().rstrip(".?") for text in prompts(150, 3)], "style: 100 % of the production and 0 % of the"),
        ([OTHERS["de"]] * 40 + prompts(60, 3), "language: 40 % of production and 0 % of training is German"),
        ([f"My washing machine leaks water at the {i}th hose." for i in range(80)], "topics: 100 % of 80 production"),
        ([text.replace("cancel", "cancl").replace("change", "chnage") for text in prompts(300, 3)], "typing errors:"),
        (["Quantum gravity loops entangle spacetime foam manifolds." for _ in range(60)], "words: 100% of the words"),
    ],
)
def test_what_production_has_and_training_lacks(production: list[str], what: str) -> None:
    found = mismatch(production)
    assert any(message.startswith(what) for message in found), found
    assert all(f"(n = 1200 training and {len(production)} production prompts)" in message for message in found)


def test_topics_name_the_prompts_that_are_far() -> None:
    strange = [f"Washing machine number {i} leaks water at the hose" for i in range(20)]
    message = next(text for text in mismatch(prompts(80, 4) + strange) if text.startswith("topics"))
    assert 20 <= int(message.split()[1]) <= 25
    assert "leaks water" in message


def test_too_few_production_prompts_are_not_compared() -> None:
    assert f"{LEAST} of each are needed" in mismatch(["Where is it?", " "])[0]
