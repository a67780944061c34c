"""Splits: deterministic, leak-free, each label in its proportion."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.data import similar
from executor.data.rows import answer
from executor.data.split import PARTS, Split, split
from executor.errors import UserError

Row = dict[str, Any]
WORDS = ["otter", "badger", "heron", "walrus", "lynx", "gecko", "ibis", "tapir", "quokka", "newt", "marmot", "osprey"]


def chat(user: str, assistant: str) -> Row:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def unlike(n: int, seed: int = 0) -> list[str]:
    """`n` texts that are no near-duplicates of each other."""
    rng = random.Random(seed)
    return ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(30)) for _ in range(n)]


def labelled(n: int, labels: int = 4) -> list[Row]:
    return [chat(text, WORDS[i % labels]) for i, text in enumerate(unlike(n))]


def sizes(parts: Split) -> list[int]:
    return [len(getattr(parts, name)) for name in PARTS]


def test_sizes_and_determinism() -> None:
    rows = labelled(200)
    first, again, other = split(rows, seed=3), split(rows, seed=3), split(rows, seed=4)
    assert sizes(first) == [160, 20, 20]
    assert first == again
    assert first.indexes != other.indexes
    assert sorted(i for name in PARTS for i in first.indexes[name]) == list(range(200))


def test_every_label_keeps_its_proportion_and_is_trained() -> None:
    parts = split(labelled(200, labels=10), ratios=(0.7, 0.1, 0.2))
    assert set(Counter(map(answer, parts.train)).values()) == {14}
    assert set(Counter(map(answer, parts.test)).values()) == {4}
    rare = [*labelled(60, labels=3), chat("the one and only of its kind", "rare"), chat("zzz qqq vvv", "rare")]
    assert "rare" in set(map(answer, split(rare, seed=1).train))


def test_near_duplicates_stay_together() -> None:
    rows = [chat(text + end, "same") for text in unlike(40) for end in ("", " !", " now")]
    parts = split(rows, ratios=(0.5, 0.25, 0.25))
    where = {i: name for name in PARTS for i in parts.indexes[name]}
    assert all(where[i] == where[i + 1] == where[i + 2] for i in range(0, 120, 3))
    assert (parts.clusters, parts.leakage) == (40, 0)


def test_groups_stay_together() -> None:
    rows = labelled(60)
    groups = [None if i >= 50 else i // 5 for i in range(60)]
    parts = split(rows, groups=groups)
    where = {i: name for name in PARTS for i in parts.indexes[name]}
    assert all(len({where[i] for i in range(g * 5, g * 5 + 5)}) == 1 for g in range(10))
    assert parts.clusters == 20


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_small_inputs_leave_no_part_empty(n: int) -> None:
    assert min(sizes(split(labelled(n, labels=1)))) >= 1
    assert min(sizes(split(labelled(n, labels=n)))) >= 1


def test_what_cannot_be_parted_stays_whole() -> None:
    parts = split([chat("the same text", "a") for _ in range(10)])
    assert sizes(parts) == [10, 0, 0]
    assert sizes(split([])) == [0, 0, 0]


@pytest.mark.parametrize("ratios", [(0.5, 0.5), (0.9, 0.2, 0.1), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
def test_ratios_must_be_parts_of_a_whole(ratios: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="split"):
        split(labelled(10), ratios=ratios)


def test_a_part_with_ratio_zero_stays_empty() -> None:
    assert sizes(split(labelled(40), ratios=(0.75, 0.25, 0.0))) == [30, 10, 0]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.text("abcde ", max_size=12), st.sampled_from("xyz")), max_size=30),
    st.integers(0, 5),
    st.booleans(),
)
def test_no_row_is_lost_and_nothing_leaks(texts: list[tuple[str, str]], seed: int, grouped: bool) -> None:
    rows = [chat(user, label) for user, label in texts]
    parts = split(rows, seed=seed, groups=[label for _, label in texts] if grouped else None)
    assert sum(sizes(parts)) == len(rows)
    assert parts.leakage == 0
    trained = {similar.normalised(row["messages"][0]["content"]) for row in parts.train}
    held = {similar.normalised(row["messages"][0]["content"]) for row in [*parts.validation, *parts.test]}
    assert not trained & held


def brute_force(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    sets = [{t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in map(similar.normalised, texts)]
    return {
        (i, j)
        for i in range(len(sets))
        for j in range(i + 1, len(sets))
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold
    }


@settings(max_examples=60)
@given(st.lists(st.text("abc", min_size=1, max_size=25), unique=True, max_size=15), st.sampled_from([0.5, 0.8]))
def test_the_search_finds_what_comparing_all_pairs_finds(texts: list[str], threshold: float) -> None:
    assert set(similar.pairs(texts, threshold)) == brute_force(texts, threshold)


def test_a_template_around_all_texts_makes_no_duplicates() -> None:
    frame = "Classify the following message of a customer of our bank into one of the known intents. Message: "
    texts = [frame + text for text in unlike(40)]
    assert similar.pairs(texts) == []
    assert similar.pairs([*texts, texts[7] + "!"]) == [(7, 40)]


def test_overlap_finds_the_texts_that_occur_elsewhere() -> None:
    texts = unlike(30)
    assert similar.overlap([*texts, texts[3]], [texts[3].upper() + " !", "nothing alike"]) == [3, 30]


@given(st.lists(st.text("abcd ", max_size=8), max_size=10), st.lists(st.text("abcd ", max_size=8), max_size=10))
def test_equal_texts_always_overlap(texts: list[str], others: list[str]) -> None:
    found = similar.overlap(texts, others)
    known = {similar.normalised(other) for other in others}
    assert {i for i, text in enumerate(texts) if similar.normalised(text) in known} <= set(found)
