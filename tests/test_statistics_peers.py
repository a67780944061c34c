"""Intervals and tests against scipy and statsmodels on random tables, and how often intervals hold the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as peer_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from executor.evaluate.power import rows_needed
from executor.evaluate.statistics import (
    clustered_mean,
    compare,
    effective_rows,
    holm,
    interval,
    mcnemar,
    paired_proportions,
    sign_flip,
    wilson,
)

TABLES = st.tuples(*[st.integers(0, 80)] * 4).filter(lambda cells: sum(cells) > 0)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
GROUPED = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 7)), min_size=4, max_size=60).filter(
    lambda rows: 2 <= len({group for _, group in rows}) < len(rows)
)
TRIALS = 1500
"""a coverage of 95 % is then known to within 1.1 points"""


def rows_of(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[float], list[float]]:
    a = [1.0] * (both + only_a) + [0.0] * (only_b + neither)
    return a, [1.0] * both + [0.0] * only_a + [1.0] * only_b + [0.0] * neither


@given(st.integers(1, 4000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_statsmodels(case: tuple[int, int]) -> None:
    assert wilson(*case) == pytest.approx(proportion_confint(*case, method="wilson"), abs=1e-9)


@given(TABLES)
def test_mcnemar_is_that_of_statsmodels(cells: tuple[int, int, int, int]) -> None:
    both, only_a, only_b, neither = cells
    theirs = peer_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
    assert mcnemar(*rows_of(*cells)) == pytest.approx(min(1.0, theirs), abs=1e-9)


@given(P_VALUES)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-9)


@given(GROUPED)
def test_the_clustered_interval_is_that_of_statsmodels(rows: list[tuple[float, int]]) -> None:
    values, groups = np.array([value for value, _ in rows]), np.array([group for _, group in rows])
    fitted = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True, "df_correction": True}, use_t=True
    )
    mean, low, high = clustered_mean(list(values), [str(group) for group in groups])
    assert mean == pytest.approx(fitted.params[0], abs=1e-9)
    assert (low, high) == pytest.approx(tuple(fitted.conf_int()[0]), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
def test_the_permutation_test_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    theirs = scipy_stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    ours = sign_flip(list(a), list(b))
    # scipy counts ties of the statistic within 1e-14 of its size, we within 1e-12: rows of rounding alone may differ
    assert ours == pytest.approx(theirs.pvalue, abs=1e-9) or abs(np.mean(a - b)) < 1e-10


@pytest.mark.parametrize(("difference", "discordant"), [(0.05, 0.2), (0.1, 0.3), (0.15, 0.2)])
def test_so_many_rows_show_the_difference_four_times_of_five(difference: float, discordant: float) -> None:
    n, random = rows_needed(difference, discordant), np.random.default_rng(3)
    wins = (discordant + difference) / 2
    seen = 0
    for _ in range(400):
        drawn = random.multinomial(n, [wins, discordant - wins, 1 - discordant])
        seen += scipy_stats.binomtest(int(drawn[0]), int(drawn[0] + drawn[1])).pvalue < 0.05
    assert 0.72 < seen / 400 < 0.88


# How often the interval holds the truth: 95 % within two points.


def covered(draw: Callable[[Any], tuple[float, float, float]]) -> float:
    """The share of trials in which (low, high, truth) holds the truth."""
    random = np.random.default_rng(11)
    found = [draw(random) for _ in range(TRIALS)]
    return sum(low <= truth <= high for low, high, truth in found) / TRIALS


@pytest.mark.parametrize(("p", "n"), [(0.5, 50), (0.8, 100), (0.1, 200), (0.95, 400)])
def test_a_share_lies_in_its_interval(p: float, n: int) -> None:
    def draw(random: Any) -> tuple[float, float, float]:
        return *wilson(int(random.binomial(n, p)), n), p

    assert covered(draw) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("cells", "n"), [((0.4, 0.25, 0.1, 0.25), 80), ((0.6, 0.15, 0.05, 0.2), 200), ((0.2, 0.3, 0.3, 0.2), 50)]
)
def test_a_paired_difference_lies_in_its_interval(cells: tuple[float, ...], n: int) -> None:
    def draw(random: Any) -> tuple[float, float, float]:
        _, low, high = paired_proportions(*rows_of(*random.multinomial(n, cells).tolist()))
        return low, high, cells[1] - cells[2]

    assert covered(draw) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [30, 100])
def test_a_mean_of_shares_lies_in_its_bootstrap(n: int) -> None:
    def draw(random: Any) -> tuple[float, float, float]:
        score = interval(random.beta(4, 2, n).tolist(), binary=False)
        return score["low"], score["high"], 4 / 6

    assert covered(draw) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("groups", [12, 40])
def test_a_clustered_difference_lies_in_its_interval(groups: int) -> None:
    """Rows of one source are right or wrong together: as if independent, the interval would be far too narrow."""

    def draw(random: Any, clustered: bool = True) -> tuple[float, float, float]:
        rate = random.beta(1.2, 0.8, groups)
        a = (random.random((groups, 8)) < rate[:, None]).astype(float).ravel().tolist()
        b = (random.random((groups, 8)) < 0.5).astype(float).ravel().tolist()
        names = [str(place) for place in range(groups) for _ in range(8)] if clustered else None
        found = compare("a", a, "b", b, binary=True, clusters=names)
        return found["low"], found["high"], 0.6 - 0.5

    assert covered(draw) == pytest.approx(0.95, abs=0.02)
    assert covered(lambda random: draw(random, clustered=False)) < 0.9


def test_rows_of_one_source_are_worth_less() -> None:
    values = [1.0] * 40 + [0.0] * 40
    apart, together = [str(n) for n in range(80)], [str(n // 8) for n in range(80)]
    assert effective_rows(values, apart) == 80
    assert effective_rows(values, together) == pytest.approx(9, abs=1.5), "ten sources, each of one mind"
    plain, clustered = interval(values, True), interval(values, True, together)
    assert clustered["high"] - clustered["low"] > 2 * (plain["high"] - plain["low"])
    assert clustered["value"] == plain["value"]


def test_clusters_do_not_depend_on_the_order_of_names() -> None:
    random = np.random.default_rng(5)
    a, b = random.random((2, 60)).tolist()
    names = [f"customer {place % 15}" for place in range(60)]
    found = compare("a", a, "b", b, False, names)
    assert found == compare("a", a, "b", b, False, names)
    assert found["test"] == "permutation by cluster"
