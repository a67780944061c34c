"""Style: content may differ, punctuation, case, length and the look of the words may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.evaluate.style import StyleProfile, profile, style_match

LABELS = ["card_arrival", "card_linking", "exchange_rate", "lost_or_stolen_card", "top_up_failed", "pin_blocked"] * 5
BRAND = [
    "Hey there! Your parcel is on its way, hang tight!",
    "Good news! We have sent your refund, enjoy!",
    "Oh no! Let us fix that for you, right away!",
    "Thanks a bunch! Your order is packed, woohoo!",
]


@pytest.fixture(scope="module")
def labels() -> StyleProfile:
    return profile(LABELS)


@pytest.fixture(scope="module")
def brand() -> StyleProfile:
    return profile(BRAND)


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=30), max_size=6))
def test_always_a_share_and_always_the_same(output: str, expected: str, texts: list[str]) -> None:
    style = profile(texts)
    match = style_match(output, expected, style)
    assert 0.0 <= match <= 1.0
    assert match == style_match(output, expected, profile(texts))


@given(st.text(max_size=60), st.lists(st.text(max_size=30), max_size=6))
def test_an_equal_text_is_one_and_an_empty_output_is_nought(text: str, texts: list[str]) -> None:
    style = profile(texts)
    assert style_match(text, text, style) == (1.0 if text.strip() else 0.0)
    assert style_match(" \n", text, style) == 0.0


def test_another_label_of_the_set_keeps_the_style(labels: StyleProfile) -> None:
    assert style_match("card_linking", "card_arrival", labels) > 0.95


@pytest.mark.parametrize("output", ["The intent is card_arrival.", "Card Arrival", "CARD_ARRIVAL", "card_arrival."])
def test_a_label_written_in_another_way_loses(labels: StyleProfile, output: str) -> None:
    assert style_match(output, "card_arrival", labels) < 0.92


def test_a_longer_explanation_loses_more_than_a_full_stop(labels: StyleProfile) -> None:
    chat = "Sure! The customer wants to know when the new card will arrive, so I would say card_arrival."
    assert style_match(chat, "card_arrival", labels) < style_match("card_arrival.", "card_arrival", labels) - 0.2


def test_a_new_sentence_in_the_house_style_beats_a_dry_one(brand: StyleProfile) -> None:
    expected = "Great choice! Your seat is booked, see you soon!"
    lively = style_match("Hooray! Your tickets are sent, have fun!", expected, brand)
    dry = style_match("the tickets were dispatched on 3 may 2024", expected, brand)
    assert lively > 0.8
    assert dry < lively - 0.3


def test_without_training_answers_the_expected_one_is_the_measure() -> None:
    style = profile([])
    assert style.texts == 0
    assert style_match("Yes.", "No.", style) > style_match("well, i am not so sure about it", "No.", style)


def test_numbers_match_other_numbers() -> None:
    style = profile(["12", "7", "130", "48"])
    assert style_match("31", "12", style) > 0.95
    assert style_match("thirty-one", "12", style) < 0.6
