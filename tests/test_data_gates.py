"""The cheap looks at all texts that decide where numbers and addresses are searched for: never too narrow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data import identity, personal
from executor.data.screen import Screen

_PIECES = (
    """
+49 (0)30 - 1234567|(030) - 12345678|030/1234567|(555) 010-4477|call 555-0134|my number is 612 345 678|tell 555-0134
4111 1111 1111 1111|378282246310005|DE89 3704 0044 0532 0130 00|gb33bukb20201555555555|123-45-6789|X1234567L|12345678Z
AB 12 34 56 C|111.444.777-35|RSSMRA85T10A562S|PAN ABCDE1234F|nhs 943 476 5919|passport C01X00T47|98765 43210
driving licence D1234567|0044 20 7946 0958|(11) 91234-5678|tel. 5551234|2025-05-13|order 12345678|421.45 EUR
1,234,567|ISBN 978-3-16-148410-0|\u0130d 12 345 678 901|a|id|é|555-0134 is my cell
""".strip()
    .replace("\n", "|")
    .split("|")
)


@given(
    st.lists(st.lists(st.sampled_from(_PIECES) | st.text("0123456789+-() ./aXé", max_size=14), max_size=4), max_size=6)
)
def test_the_gate_of_numbers_lets_every_text_through_that_holds_one(rows: list[list[str]]) -> None:
    texts = [" ".join(row) for row in rows]
    gate = personal._may_hold_number(Screen(texts)) if texts else []
    wide = Screen(texts).digits >= identity.FEWEST if texts else []
    for text, narrow, old in zip(texts, gate, wide, strict=True):
        assert narrow == bool(narrow and old)
        if old and list(personal.numbers(text)):
            assert narrow, text


_STREETS = """
Street St Avenue Ave Road Rd Boulevard Blvd Lane Ln Drive Dr Court Ct Way Place Pl Terrace Square Sq Close Crescent
Parkway Pkwy Highway Hwy Circle Cir Trail Gardens Grove Mews Row Hill
"""
_GERMAN = "straße strasse str. weg platz allee gasse ring damm ufer"


@pytest.mark.parametrize("word", _STREETS.split())
def test_the_gate_of_addresses_knows_every_street_word(word: str) -> None:
    text = f"I live at 12 Elm {word}, Springfield, IL 62704"
    assert list(personal.addresses(text))
    assert personal._may_be_address(Screen(["none", text, "12"])).tolist() == [False, True, False]


@pytest.mark.parametrize("word", _GERMAN.split())
def test_the_gate_of_addresses_knows_german_streets(word: str) -> None:
    text = f"Gartenmühl{word} 12, 10115 Berlin"
    assert list(personal.addresses(text))
    assert personal._may_be_address(Screen([text])).all()
