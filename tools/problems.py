"""Problems of data in the words of an answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from executor.data.problem import Problem

_SHOWN = 12
"""problems listed in a text answer"""
_OF_ONE_KIND = 3
"""of which at most this many of one code"""


def counted(totals: dict[str, int]) -> str:
    return ", ".join(f"{n} {severity}{'' if n == 1 else 's'}" for severity, n in totals.items())


def listed(problems: Sequence[Problem], became: str = "") -> list[str]:
    """The first problems of each kind as a Markdown list, and how many more there are.

    `became` is what became of each row, told in place of how grave its fault is.
    """
    if not problems:
        return []
    shown: list[Problem] = []
    seen: Counter[str] = Counter()
    for problem in problems:
        seen[problem.code] += 1
        if seen[problem.code] <= _OF_ONE_KIND and len(shown) < _SHOWN:
            shown.append(problem)
    lines = [
        f"- {became or each.severity}{f', line {each.line}' if each.line else ''}: {each.message}. {each.fix}"
        for each in shown
    ]
    left = seen - Counter(problem.code for problem in shown)
    if left:
        kinds = ", ".join(f"{n} {code}" for code, n in left.most_common())
        lines.append(f"- and {left.total()} more: {kinds}")
    return ["\n".join(lines)]
