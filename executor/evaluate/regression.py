"""What the adapter cost elsewhere: bundled suites, answered with the adapter off and on."""

from __future__ import annotations

from typing import Any

from executor.evaluate.statistics import paired_proportions


def change(before: list[float], after: list[float], margin: float) -> dict[str, Any]:
    """The contract's entry: `lost` if even the upper bound is below -margin, `kept` if the lower bound is above it."""
    difference, low, high = paired_proportions(after, before)
    kept = "kept" if low > -margin else "unclear"
    return {
        "before": sum(before) / len(before),
        "after": sum(after) / len(after),
        "difference": difference,
        "low": low,
        "high": high,
        "n": len(before),
        "verdict": "lost" if high < -margin else kept,
    }
