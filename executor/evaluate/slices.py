"""Scores of parts of the test rows: by label, length, language, and the columns that the user named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from executor.data.judge.told import language
from executor.data.rows import answer, asked
from executor.evaluate.statistics import Clusters, interval
from executor.spec import DataSpec

LEAST = 5
"""rows of a part that is told of"""
LENGTHS = ("short", "middle", "long")


def parts(rows: Sequence[dict[str, Any]], data: DataSpec) -> dict[str, list[str]]:
    """What the rows can be parted by -> the part of each row. Only what parts them in two at least is told."""
    sizes = [len(asked(row)) for row in rows]
    cuts = (sorted(sizes)[len(sizes) // 3], sorted(sizes)[2 * len(sizes) // 3])
    found = {
        "label": [answer(row) for row in rows] if data.kind == "label" else [],
        "length of the question": [LENGTHS[sum(size >= cut for cut in cuts)] for size in sizes],
        "language": [language(asked(row)) or "not told" for row in rows],
    }
    for column in data.slices:
        found[column] = [str(row.get("columns", {}).get(column, "")) for row in rows]
    return {by: values for by, values in found.items() if sum(n >= LEAST for n in Counter(values).values()) >= 2}


def sliced(
    values: Sequence[float], by: dict[str, list[str]], binary: bool, clusters: Clusters = None
) -> dict[str, dict[str, Any]]:
    """`{by: {part: score}}` of the parts with enough rows."""
    found: dict[str, dict[str, Any]] = {}
    for name, parted in by.items():
        counts = Counter(parted)
        found[name] = {}
        for part in sorted(counts):
            rows = [row for row, place in enumerate(parted) if place == part]
            if len(rows) >= LEAST:
                within = [clusters[row] for row in rows] if clusters else None
                found[name][part] = interval([values[row] for row in rows], binary, within)
    return found


def worst(found: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The weakest part: the lowest upper bound of all, as `{"by", "part", **score}`."""
    each = [{"by": by, "part": part, **score} for by, group in found.items() for part, score in group.items()]
    return min(each, key=lambda score: (score["high"], score["value"]), default=None)
