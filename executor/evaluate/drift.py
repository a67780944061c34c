"""The same rows asked again: whether a model that is in use still answers as it did, and as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from executor.data.rows import asking_key
from executor.evaluate.statistics import Clusters, compare, interval

Line = Mapping[str, Any]
"""of evaluation/SYSTEM.jsonl: `prompt, expected, output, scores`"""
Scorer = Callable[[str, str], Mapping[str, float]]
SHOWN = 20
"""changed rows in a result; all of them stand in drift.jsonl"""


def same_rows(before: Sequence[Line], now: Sequence[Line]) -> list[tuple[int, Line, Line]]:
    """(place in now, before, now) of each row that both hold; a row that stands twice is met twice."""
    waiting: dict[str, list[Line]] = {}
    for line in before:
        waiting.setdefault(asking_key(line.get("prompt"), line.get("expected")), []).append(line)
    found = []
    for place, line in enumerate(now):
        known = waiting.get(asking_key(line["prompt"], line["expected"]))
        if known:
            found.append((place, known.pop(0), line))
    return found


def drift_of(
    before: Sequence[Line], now: Sequence[Line], scorer: Scorer, binary: bool, clusters: Clusters = None
) -> dict[str, Any] | None:
    """What changed, both times scored as of today: the difference is now - before.

    `dropped`: the whole 95 % interval of the difference lies below zero. None where no row is the same.
    """
    pairs = same_rows(before, now)
    if not pairs:
        return None
    scored = [
        (scorer(str(old.get("output") or ""), str(new["expected"]))["task_accuracy"],
         scorer(str(new["output"]), str(new["expected"]))["task_accuracy"])
        for _, old, new in pairs
    ]  # fmt: skip
    sources = [clusters[place] for place, _, _ in pairs] if clusters else None
    old_scores, new_scores = ([pair[side] for pair in scored] for side in (0, 1))
    found = compare("now", new_scores, "before", old_scores, binary, sources)
    changed = [
        {
            "row": place + 1, "prompt": new["prompt"], "expected": new["expected"], "before": old.get("output"),
            "now": new["output"], "score_before": values[0], "score_now": values[1],
        }
        for (place, old, new), values in zip(pairs, scored, strict=True)
        if str(old.get("output") or "").strip() != str(new["output"]).strip()
    ]  # fmt: skip
    changed.sort(key=lambda row: row["score_now"] - row["score_before"])
    return {
        "before": interval(old_scores, binary, sources), "now": interval(new_scores, binary, sources),
        "rows": len(pairs),
        "rows_not_there": len(now) - len(pairs), "difference": found["difference"], "low": found["low"],
        "high": found["high"], "p_value": found["p_value"], "test": found["test"],
        "detectable_difference": found["detectable_difference"], "dropped": found["high"] < 0,
        "changed_answers": len(changed),
        "changed_share": interval([1.0] * len(changed) + [0.0] * (len(pairs) - len(changed)), binary=True),
        "changed": changed,
    }  # fmt: skip
