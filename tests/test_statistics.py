"""Intervals and tests against published values, and the properties that any of them must have."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.evaluate.power import detectable_difference, rows_needed
from executor.evaluate.regression import change
from executor.evaluate.statistics import (
    bootstrap_mean,
    compare,
    correlation,
    interval,
    mcnemar,
    paired_proportions,
    sign_flip,
    wilson,
)

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60)
SHARES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[float], list[float]]:
    a = [1.0] * both + [1.0] * only_a + [0.0] * only_b + [0.0] * neither
    b = [1.0] * both + [0.0] * only_a + [1.0] * only_b + [0.0] * neither
    return a, b


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # the last two rows: Newcombe 1998, two-sided intervals for the single proportion, method 3
    [(80, 100, 0.711, 0.867), (0, 12, 0.0, 0.2425), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_wilson_has_its_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_value_and_stays_in_bounds(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    mirrored = wilson(n - successes, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


def test_nothing_measured_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_narrows_with_more_rows() -> None:
    widths = [high - low for low, high in (wilson(n * 0.3, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[1]


def test_newcombes_published_example() -> None:
    """Statistics in Medicine 17 (1998) 2635: 36, 12, 2, 0 of 50 pairs, method 10: 0.0569 to 0.3404."""
    difference, low, high = paired_proportions(*table(36, 12, 2, 0))
    assert (difference, low, high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_the_correlation_is_corrected_for_continuity_where_it_is_positive() -> None:
    assert correlation(36, 12, 2, 0) == pytest.approx(-24 / math.sqrt(48 * 2 * 38 * 12))
    assert correlation(20, 12, 2, 16) == pytest.approx((20 * 16 - 12 * 2 - 50 / 2) / math.sqrt(32 * 18 * 22 * 28))
    assert correlation(2, 1, 1, 2) == 0.0, "the correction never turns the sign"
    assert correlation(5, 0, 0, 0) == 0.0, "an empty margin"


@given(PAIRS)
def test_a_paired_interval_holds_its_difference_and_mirrors(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    difference, low, high = paired_proportions(a, b)
    assert low + 1e-12 >= -1
    assert high <= 1 + 1e-12
    assert low - 1e-12 <= difference <= high + 1e-12
    assert difference == pytest.approx(sum(a) / len(a) - sum(b) / len(b))
    assert paired_proportions(b, a) == pytest.approx((-difference, -high, -low))


def test_pairing_narrows_the_interval_of_systems_that_agree() -> None:
    _, low, high = paired_proportions(*table(40, 10, 0, 50))
    _, wide_low, wide_high = paired_proportions(*table(25, 25, 15, 35))
    assert high - low < wide_high - wide_low


@pytest.mark.parametrize(("wins", "losses", "p"), [(6, 0, 0.03125), (0, 6, 0.03125), (5, 5, 1.0), (0, 0, 1.0)])
def test_mcnemar_has_its_known_values(wins: int, losses: int, p: float) -> None:
    assert mcnemar(*table(7, wins, losses, 4)) == pytest.approx(p)


@given(PAIRS, st.integers(0, 30))
def test_mcnemar_does_not_mind_the_order_or_the_rows_on_which_both_agree(
    pairs: list[tuple[float, float]], more: int
) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    p = mcnemar(a, b)
    assert 0 <= p <= 1
    assert mcnemar(b, a) == pytest.approx(p)
    assert mcnemar([*a, *[1.0] * more], [*b, *[1.0] * more]) == pytest.approx(p)


@pytest.mark.parametrize(
    ("difference", "discordant", "rows"), [(0.10, 0.2, 155), (0.05, 0.2, 626), (0.10, 0.3, 234), (0.2, 0.3, 57)]
)
def test_rows_needed_has_its_known_values(difference: float, discordant: float, rows: int) -> None:
    assert rows_needed(difference, discordant) == rows


@given(st.integers(20, 3000), st.floats(0.05, 0.6))
def test_the_detectable_difference_is_the_smallest_that_the_rows_show(n: int, discordant: float) -> None:
    smallest = detectable_difference(n, discordant)
    assert rows_needed(smallest, discordant) <= n
    if smallest > 0.01:
        assert rows_needed(smallest * 0.99, discordant) >= rows_needed(smallest, discordant)
        assert rows_needed(smallest * 0.9, discordant) > n


def test_hardly_any_rows_show_nothing() -> None:
    assert detectable_difference(3) == 1.0
    assert detectable_difference(155) <= 0.1 < detectable_difference(154)


@given(SHARES)
def test_shares_are_compared_by_resampling(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = compare("a", a, "b", b, binary=False)
    assert found["test"] == "paired permutation"
    assert found["low"] - 1e-9 <= found["high"]
    assert 0 < found["p_value"] <= 1
    turned = compare("b", b, "a", a, binary=False)
    assert turned["difference"] == pytest.approx(-found["difference"])
    assert turned["p_value"] == pytest.approx(found["p_value"])


def test_the_bootstrap_holds_the_mean_and_repeats_itself() -> None:
    rng = random.Random(1)
    values = [rng.random() for _ in range(50)]
    low, high = bootstrap_mean(values)
    assert low < sum(values) / 50 < high
    assert bootstrap_mean(values) == (low, high)


def test_a_clear_gain_of_shares_is_seen_and_noise_is_not() -> None:
    rng = random.Random(2)
    noise = [rng.random() / 2 for _ in range(60)]
    same = [value + rng.uniform(-0.05, 0.05) for value in noise]
    better = [value + 0.2 for value in noise]
    assert sign_flip(better, noise) < 0.001
    assert sign_flip(same, noise) > 0.05


def test_the_comparison_has_the_keys_of_the_contract() -> None:
    keys = {"a", "b", "metric", "difference", "low", "high", "p_value", "test", "n", "detectable_difference"}
    for binary in (True, False):
        found = compare("fine_tuned", [1.0, 1.0, 0.0], "few_shot", [0.0, 1.0, 0.0], binary)
        assert keys <= found.keys()
        assert (found["a"], found["b"], found["n"]) == ("fine_tuned", "few_shot", 3)
    assert compare("a", *table(36, 12, 2, 0)[:1], "b", table(36, 12, 2, 0)[1], True)["test"] == "exact McNemar"


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=40), st.booleans(), st.floats(0, 1))
def test_a_score_lies_in_its_interval(values: list[float], binary: bool, share: float) -> None:
    values = values if binary else [share * value for value in values]
    score = interval(values, binary)
    assert score.keys() == {"value", "low", "high", "n"}
    assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert score["n"] == len(values)
    assert math.isclose(score["value"], sum(values) / len(values))


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(45, 45, "kept"), (45, 10, "lost"), (45, 39, "unclear"), (10, 45, "kept")],
)
def test_a_suite_is_kept_lost_or_unclear(before: int, after: int, verdict: str) -> None:
    found = change([1.0] * before + [0.0] * (50 - before), [1.0] * after + [0.0] * (50 - after), margin=0.10)
    assert found.keys() == {"before", "after", "difference", "low", "high", "n", "verdict"}
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx((after - before) / 50)
