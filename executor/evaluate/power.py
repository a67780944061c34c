"""What a number of test rows can show, and how many a wished difference needs. Power is 80 %, tests are at 5 %."""

from __future__ import annotations

import math
from collections.abc import Callable

Z = 1.959963984540054
"""97.5 % point of the normal distribution"""
Z_POWER = 0.8416212335729143
"""80 % point: the power that detectable differences are stated for"""
DISCORDANT = 0.2
"""share of rows on which two systems differ, assumed before it is measured"""


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
