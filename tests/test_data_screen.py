"""Facts about many texts at once are those of each text, and the searches behind them stay fast."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data import personal, secrets, sensitive
from executor.data.batch import Batch
from executor.data.screen import BRACKETS, DIGITS, Screen

MEGABYTE = 1_000_000


@given(st.lists(st.text(st.characters()), max_size=20), st.text(st.characters(codec="ascii"), min_size=1, max_size=2))
def test_the_screen_counts_what_a_loop_counts(texts: list[str], word: str) -> None:
    screen = Screen(texts)
    assert screen.digits.tolist() == [sum(each in DIGITS for each in text) for text in texts]
    assert screen.brackets.tolist() == [sum(each in BRACKETS for each in text) for text in texts]
    assert screen.non_ascii.tolist() == [sum(ord(each) > 127 for each in text) for text in texts]
    runs = ["".join(each if each in DIGITS else " " for each in text).split() for text in texts]
    assert screen.longest(DIGITS).tolist() == [max(map(len, run), default=0) for run in runs]
    if "\0" not in word:
        assert screen.holding(word).tolist() == [word in text for text in texts]


def test_a_screen_of_many_long_texts_is_cut_into_pieces() -> None:
    texts = ["1x" * 300_000, "", "é" * 2_000_000 + "77", "abc" * 500_000, "9"]
    screen = Screen(texts)
    assert screen.digits.tolist() == [300_000, 0, 2, 0, 1]
    assert screen.longest("abc").tolist() == [0, 0, 0, 1_500_000, 0]
    assert np.array_equal(screen.holding_folded("É".lower()), [False, False, True, False, False])


@pytest.mark.parametrize(
    "seed",
    [
        "a",
        "1",
        "1 ",
        "a@",
        "a.a@a.",
        "DE12 ",
        "AB12 3456 ",
        "4111 ",
        "born ",
        "2001:",
        "12 Aa ",
        "a(at)a.",
        "+1 ",
        "::",
        "1.2.3.4.",
        "call 1 ",
        "thanks\n",
        "name is Aa Aa ",
        "password=",
        "://a:b",
        "sk-",
        "Bearer ",
        "Name: ",
        "-----",
        "-----BEGIN PRIVATE KEY-----",
        "eyJa.",
        "api_key=a",
        "passport ",
        "is my phone ",
        "123-45-",
        "Aastr. 1",
    ],
)
def test_time_grows_with_the_length_only(seed: str) -> None:
    def seconds(size: int) -> float:
        text = (seed * (size // len(seed) + 1))[:size]
        begin = time.process_time()
        personal.find(text)
        secrets.find(text)
        return time.process_time() - begin

    small = seconds(MEGABYTE // 40)
    # a quadratic search would take 25 times as long for five times the text
    assert seconds(MEGABYTE // 8) < 12 * max(small, 0.02)


def test_clean_texts_pass_fast() -> None:
    source = Path(__file__).parents[1] / "examples" / "support_tickets.csv"
    known = [value for row in csv.DictReader(source.open(encoding="utf-8")) for value in row.values() if value]
    texts = [text for text in known if not set(text) & set(DIGITS + "@")] * 200
    batch = Batch(list(range(len(texts))), texts=texts, owners=list(range(len(texts))), roles=["user"] * len(texts))
    begin = time.process_time()
    problems = sensitive.judge(batch)
    taken = time.process_time() - begin
    assert problems == []
    assert len(texts) / taken > 50_000  # some 600,000 when the core is free; one search a text would be far below
