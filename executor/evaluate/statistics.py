"""Intervals and tests for scores on the same rows. Every interval is two-sided, 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from executor.evaluate.power import DISCORDANT, Z_POWER, Z, detectable_difference

RESAMPLES = 4000
FEW = 12
"""so many signs are flipped in every way, not at random"""
Clusters = Sequence[str] | None
"""the source of each row (a customer, a document, a thread): rows of one source are not independent"""


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(values: Sequence[float], binary: bool, clusters: Clusters = None) -> dict[str, Any]:
    """The contract's score: value, low, high, n. Wilson for right-or-wrong values, else the bootstrap of the mean.

    Under clusters Wilson counts the rows that independent ones would be worth (Korn and Graubard 1998).
    """
    n = len(values)
    value = sum(values) / n
    if binary:
        low, high = wilson(value * (worth := effective_rows(values, clusters)), worth)
    elif repeated(clusters):
        _, low, high = clustered_mean(values, clusters or ())
    elif min(values) == max(values):  # nothing to resample: all that is known is how many they are
        low, high = wilson(value * n, n)
    else:
        low, high = bootstrap_mean(values)
    low, high = max(0.0, min(low, value)), min(1.0, max(high, value))  # against the last bit's rounding
    return {"value": value, "low": low, "high": high, "n": n}


def repeated(clusters: Clusters) -> bool:
    """Whether any source has two rows, and there are two sources at least."""
    return bool(clusters) and 2 <= len(set(clusters or ())) < len(clusters or ())


def bootstrap_mean(values: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap of the mean, fixed seed, widened for few rows as Student's t is (Hesterberg 2015)."""
    sample = np.asarray(values)
    n = len(sample)
    if n < 2:
        return float(sample[0]), float(sample[0])
    random = np.random.default_rng(0)
    means = sample[random.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    tail = float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def cluster_sums(values: Sequence[float], clusters: Sequence[str]) -> np.ndarray[Any, Any]:
    """The sum of the deviations from the mean in each cluster."""
    sample = np.asarray(values)
    return np.bincount(numbers(clusters), weights=sample - sample.mean())


def numbers(clusters: Sequence[str]) -> np.ndarray[Any, Any]:
    """Each row's cluster as a number."""
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def clustered_mean(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float, float]:
    """(mean, low, high) with a cluster-robust standard error and Student's t with clusters - 1 (Miller 2024).

    The squared error has the usual correction for G clusters, G / (G - 1).
    """
    mean, groups = sum(values) / len(values), len(set(clusters))
    half = float(stats.t.ppf(0.975, groups - 1)) * math.sqrt(clustered_variance(values, clusters))
    return mean, mean - half, mean + half


def clustered_variance(values: Sequence[float], clusters: Sequence[str]) -> float:
    """The squared standard error of the mean where rows of one cluster are not independent."""
    sums = cluster_sums(values, clusters)
    return float((sums**2).sum()) / len(values) ** 2 * len(sums) / (len(sums) - 1)


def effective_rows(values: Sequence[float], clusters: Clusters) -> float:
    """How many independent rows these are worth: n over the design effect, at least 1 and at most n."""
    n = len(values)
    if not repeated(clusters):
        return n
    plain = np.var(np.asarray(values)) / (n - 1)
    if plain == 0:
        return len(set(clusters or ()))
    return float(min(n, max(1.0, n * plain / max(clustered_variance(values, clusters or ()), 1e-300))))


def paired_proportions(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """(difference a - b, low, high) for right-or-wrong values on the same rows: Newcombe's method 10 (1998)."""
    n = len(a)
    only_a = sum(x > y for x, y in zip(a, b, strict=True))
    only_b = sum(y > x for x, y in zip(a, b, strict=True))
    both = sum(x == y == 1 for x, y in zip(a, b, strict=True))
    neither = n - only_a - only_b - both
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    difference = p_a - p_b
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n), wilson(both + only_b, n)
    phi = correlation(both, only_a, only_b, neither)
    below = (p_a - low_a) ** 2 - 2 * phi * (p_a - low_a) * (high_b - p_b) + (high_b - p_b) ** 2
    above = (high_a - p_a) ** 2 - 2 * phi * (high_a - p_a) * (p_b - low_b) + (p_b - low_b) ** 2
    return difference, difference - math.sqrt(max(0.0, below)), difference + math.sqrt(max(0.0, above))


def correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Phi of the 2x2 table, with Newcombe's continuity correction where it is positive; 0 with an empty margin."""
    n = both + only_a + only_b + neither
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    determinant = both * neither - only_a * only_b
    corrected = max(determinant - n / 2, 0) if determinant > 0 else determinant
    return corrected / math.sqrt(margins)


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided McNemar test (binomial on the discordant rows)."""
    wins = sum(x > y for x, y in zip(a, b, strict=True))
    losses = sum(y > x for x, y in zip(a, b, strict=True))
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def sign_flip(a: Sequence[float], b: Sequence[float], clusters: Clusters = None) -> float:
    """Paired permutation test of the mean difference, two-sided: signs flipped, those of a cluster together.

    Every way where there are few, else at random with a fixed seed.
    """
    differences = np.asarray(a) - np.asarray(b)
    if repeated(clusters):
        differences = np.bincount(numbers(clusters or ()), weights=differences)
    n = len(differences)
    if n <= FEW:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        more = 0
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (RESAMPLES, n))
        more = 1
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12
    return float((extreme.sum() + more) / (len(signs) + more))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted so that all stay true together (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def compare(
    name_a: str, a: Sequence[float], name_b: str, b: Sequence[float], binary: bool, clusters: Clusters = None
) -> dict[str, Any]:
    """The contract's `comparison` of task accuracy on the same rows."""
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    n, discordant, detectable = len(gaps), None, None
    if binary:
        discordant = sum(gap != 0 for gap in gaps) / n
    if repeated(clusters):
        difference, low, high = clustered_mean(gaps, clusters or ())
        low, high = max(-1.0, low), min(1.0, high)
        test, p_value = "permutation by cluster", sign_flip(a, b, clusters)
        detectable = (Z + Z_POWER) * math.sqrt(clustered_variance(gaps, clusters or ()))
    elif binary:
        difference, low, high = paired_proportions(a, b)
        test, p_value = "exact McNemar", mcnemar(a, b)
        detectable = detectable_difference(n, discordant or DISCORDANT)
    else:
        difference, (low, high) = sum(gaps) / n, bootstrap_mean(gaps)
        test, p_value = "paired permutation", sign_flip(a, b)
        detectable = (Z + Z_POWER) * float(np.std(gaps, ddof=1)) / math.sqrt(n) if n > 1 else None
    return {
        "a": name_a, "b": name_b, "metric": "task_accuracy", "difference": difference, "low": low, "high": high,
        "p_value": p_value, "test": test, "n": n, "detectable_difference": detectable, "discordant": discordant,
        "sources": len(set(clusters)) if clusters else None,
    }  # fmt: skip
