"""Intervals and tests for scores on the same rows. Every interval is two-sided, 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

Z = 1.959963984540054
"""97.5 % point of the normal distribution"""
Z_POWER = 0.8416212335729143
"""80 % point: the power that detectable differences are stated for"""
DISCORDANT = 0.2
"""share of rows on which two systems differ, assumed before it is measured"""
RESAMPLES = 4000


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(values: Sequence[float], binary: bool) -> dict[str, Any]:
    """The contract's score: value, low, high, n. Wilson for right-or-wrong values, else the bootstrap of the mean."""
    n = len(values)
    value = sum(values) / n
    low, high = wilson(sum(values), n) if binary else bootstrap_mean(values)
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": n}  # against the last bit's rounding


def bootstrap_mean(values: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap of the mean, fixed seed."""
    sample = np.asarray(values)
    random = np.random.default_rng(0)
    means = sample[random.integers(0, len(sample), (RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


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


def sign_flip(a: Sequence[float], b: Sequence[float]) -> float:
    """Paired permutation test of the mean difference: signs flipped at random, fixed seed."""
    differences = np.asarray(a) - np.asarray(b)
    random = np.random.default_rng(0)
    signs = random.choice((-1.0, 1.0), (RESAMPLES, len(differences)))
    extreme = np.abs((signs * differences).mean(axis=1)) >= abs(differences.mean()) - 1e-12
    return float((extreme.sum() + 1) / (RESAMPLES + 1))


def compare(name_a: str, a: Sequence[float], name_b: str, b: Sequence[float], binary: bool) -> dict[str, Any]:
    """The contract's `comparison` of task accuracy on the same rows."""
    if binary:
        difference, low, high = paired_proportions(a, b)
        test, p_value = "exact McNemar", mcnemar(a, b)
        discordant: float | None = sum(x != y for x, y in zip(a, b, strict=True)) / len(a)
        detectable: float | None = detectable_difference(len(a), discordant or DISCORDANT)
    else:
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        difference, (low, high) = sum(gaps) / len(gaps), bootstrap_mean(gaps)
        test, p_value, discordant = "paired permutation", sign_flip(a, b), None
        detectable = (Z + Z_POWER) * float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else None
    return {
        "a": name_a, "b": name_b, "metric": "task_accuracy", "difference": difference, "low": low, "high": high,
        "p_value": p_value, "test": test, "n": len(a), "detectable_difference": detectable, "discordant": discordant,
    }  # fmt: skip


def rows_needed(difference: float, discordant: float = DISCORDANT) -> int:
    """Paired rows that show `difference` with 80 % power (Connor 1987); discordant rows are at least the difference."""
    d = max(discordant, difference)
    root = Z * math.sqrt(d) + Z_POWER * math.sqrt(max(0.0, d - difference**2))
    return math.ceil(root**2 / difference**2)


def detectable_difference(n: int, discordant: float = DISCORDANT) -> float:
    """The smallest difference that `n` paired rows show with 80 % power; 1.0 where even that is too small."""
    return bisect(lambda difference: rows_needed(difference, discordant) <= n)


def bisect(enough: Callable[[float], bool]) -> float:
    low, high = 1e-4, 1.0
    if not enough(high):
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
