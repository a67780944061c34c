"""Labels written in several ways: casing, spacing, and single typing errors."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
_RARE = 0.1
"""a spelling at most this often, relative to the common one, may be a typing error of it"""
_SHORTEST = 5
"""characters; shorter labels differ by one letter on purpose ("high", "nigh")"""


def key(label: str) -> str:
    """Equal for spellings that differ in casing, spaces, underscores and hyphens between letters only."""
    return _SEPARATORS.sub(" ", label.strip()).casefold()


def spellings(labels: Iterable[str]) -> dict[str, str]:
    """Each spelling that is not the commonest of its label, and the commonest (of equals the first in the alphabet)."""
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, n in Counter(labels).items():
        groups[key(label)][label] += n
    unified: dict[str, str] = {}
    for group in groups.values():
        best = min(group, key=lambda label: (label != label.strip(), -group[label], label))
        unified.update({label: best.strip() for label in group if label != best.strip()})
    return unified


def typing_errors(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare labels one edit away from a common one."""
    common = [label for label, n in counts.items() if n >= 1 / _RARE and len(label) >= _SHORTEST]
    found = {}
    for label, n in counts.items():
        near = [other for other in common if n <= _RARE * counts[other] and _one_edit(label, other)]
        if near:
            found[label] = max(near, key=lambda other: (counts[other], other))
    return found


def _one_edit(a: str, b: str) -> bool:
    """One letter more, less, other, or two neighbours swapped; digits differ on purpose."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[start:], b[start:]
    if any(character.isdigit() for character in rest_a[:1] + rest_b[:1]):
        return False
    swapped = rest_a[:2] == rest_b[:2][::-1] and rest_a[2:] == rest_b[2:]
    return rest_a[1:] == rest_b[1:] or rest_a[1:] == rest_b or rest_a == rest_b[1:] or swapped
