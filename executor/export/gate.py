"""Whether a delivered model still answers the same: its prompts token by token, its answers, and its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executor.evaluate.statistics import Clusters, compare, interval

SAME = {"merged": 0.99, "bf16": 0.97, "f16": 0.97}
"""share of identical greedy answers from which on a form without quantisation counts as equal: near ties may turn"""
MARGIN = 0.02
"""a quantised form answers otherwise, by its nature: its score may differ by less than so much, or by chance"""


COUNTS = ("prompts", "same_prompt_tokens", "same_outputs")


@dataclass(frozen=True)
class Answers:
    """What one form of the model made of the test rows."""

    prompts: list[list[int]]
    """tokens of each prompt"""
    outputs: list[str]
    ended: list[bool]
    """whether each answer ended by itself, before the limit"""
    scores: list[float]
    """task accuracy of each"""


def gate(
    form: str, before: Answers, after: Answers, binary: bool, bos: int | None, of: Clusters, fault: str = ""
) -> dict[str, Any]:
    """The contract's `equivalence`: `equal`, the reasons where it is not, and the figures behind them.

    `form`: merged, bf16, f16, or a quantisation. `bos`: the token that begins a text. `fault`: of the weights.
    """
    rows = len(before.outputs)
    same_prompts = sum(a == b for a, b in zip(before.prompts, after.prompts, strict=True))
    same_outputs = sum(a == b for a, b in zip(before.outputs, after.outputs, strict=True))
    gap = compare("after", after.scores, "before", before.scores, binary, of)
    reasons = prompt_faults(before.prompts, after.prompts, bos) + end_faults(before, after)
    reasons += [fault] if fault else []
    share = same_outputs / rows
    if not reasons and form in SAME and share < SAME[form]:
        reasons.append(f"Rounding: {same_outputs} of {rows} answers are identical, fewer than {SAME[form]:.0%}.")
    if not reasons and form not in SAME and lost(gap):
        reasons.append(f"Rounding: the score changed by {points(gap)}: neither within {MARGIN:.0%} nor by chance.")
    was, now = interval(before.scores, binary, of), interval(after.scores, binary, of)
    return {
        "prompts": rows,
        "same_prompt_tokens": same_prompts,
        "same_outputs": same_outputs,
        "score_before": was["value"],
        "score_after": now["value"],
        **{key: gap[key] for key in ("difference", "low", "high", "p_value", "test")},
        "equal": not reasons,
        "reasons": reasons,
        "intervals": {"before": was, "after": now},
    }


def lost(gap: dict[str, Any]) -> bool:
    """Whether a score changed by more than the margin, and not by chance."""
    within = gap["low"] >= -MARGIN and gap["high"] <= MARGIN
    return not (within or gap["low"] <= 0 <= gap["high"])


def points(gap: dict[str, Any]) -> str:
    return f"{100 * gap['difference']:+.1f} points ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"


def retest(
    trained: Answers, after: Answers, binary: bool, bos: int | None, of: Clusters, reasons: list[str]
) -> dict[str, Any]:
    """What the step from a base in 4 bits to one in 16 does to the score; `equal` and `reasons` with it."""
    gap = compare("after", after.scores, "trained", trained.scores, binary, of)
    told = [f"Base in 16 bits: it was trained on 4, and the score changed by {points(gap)}."] if lost(gap) else []
    figures = {key: gap[key] for key in ("difference", "low", "high", "p_value", "test")}
    return {"retest": figures, "reasons": [*reasons, *told], "equal": not (reasons or told)}


def untested(reason: str) -> dict[str, Any]:
    """The contract's `equivalence` of a form that cannot run here."""
    figures = dict.fromkeys((*COUNTS, "score_before", "score_after", "difference", "low", "high"))
    return {**figures, "equal": None, "reasons": [reason]}


def prompt_faults(before: Sequence[list[int]], after: Sequence[list[int]], bos: int | None) -> list[str]:
    """Why prompts differ: a start token twice, or another template."""
    different = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if not different:
        return []
    place = different[0]
    a, b = before[place], after[place]
    if bos is not None and b == [bos, *a]:
        return [f"Doubled BOS: {len(different)} of {len(before)} prompts begin with the start token twice."]
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    counts = f"{len(a)} tokens became {len(b)}"
    where = f"row {place + 1} from token {at + 1} on ({counts})"
    return [f"Template: {len(different)} of {len(before)} prompts differ, {where}."]


def end_faults(before: Answers, after: Answers) -> list[str]:
    """Answers that ended by themselves and now run on."""
    endless = sum(was and not now for was, now in zip(before.ended, after.ended, strict=True))
    if endless > max(1, 0.02 * len(before.ended)):
        told = f"{endless} of {len(before.ended)} answers no longer end by themselves"
        return [f"End of turn: {told}: a stop token is missing."]
    return []
