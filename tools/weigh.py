"""From a situation to an approach: the signals that hold, their votes in `facts/rules.yaml`, the score table."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import get_args

from knowledge.classify import Classifier
from knowledge.load import cases, facts, number, read_yaml
from knowledge.rows import Approach, Case, Fact
from knowledge.search import Hit, search_cases
from tools import break_even
from tools.situation import Situation

APPROACHES: tuple[Approach, ...] = get_args(Approach)
"""cheapest first"""

PLAIN_SIGNALS = (
    "needs_facts", "knowledge_changes", "style_or_format", "format_only", "wrong_content", "labels_closed_set",
    "narrow_task", "own_language", "general_knowledge", "tabular", "off_the_shelf", "open_ended", "both_asked",
    "latency_or_privacy", "small_effort", "prompt_fixable", "no_training", "noisy_retrieval", "growing_prompt",
)  # fmt: skip
"""Fields of a situation that are signals as they stand."""

ALIKE = 0.3
"""A case that holds less of the question's rarity is no precedent."""

MOST_CASES = 3

IN_COMMON = 4
"""So many things at least a case has in common with the question."""

CASE_VOTES = 2.0
"""The weight of the nearest precedent; the others count by their nearness to it."""

LIKENESS = 3.0
"""What likeness to the written situations and the published cases counts; chosen on questions of our own."""

MOST_LIKE = 2.0
"""And at most: what is stated outweighs how it is told."""

LEAST_WORDS = 8
"""A text of fewer different words tells no situation."""

Votes = dict[str, float]


def likeness(words: str) -> Votes:
    """What a text in the user's own words speaks for, learnt from situations with a known best approach."""
    if too_short(words):
        return {}
    return {name: max(-MOST_LIKE, min(MOST_LIKE, LIKENESS * each)) for name, each in _learnt().scores(words).items()}


def too_short(words: str) -> bool:
    """Whether a text has too few different words to tell a situation."""
    return len(set(words.lower().split())) < LEAST_WORDS


def near_cases(words: str) -> list[Hit[Case]]:
    """The published cases whose task is like the words, nearest first."""
    if too_short(words):
        return []
    near = search_cases(words, MOST_CASES)
    return [hit for hit in near if hit.share >= ALIKE and len(hit.parts) >= IN_COMMON]


@cache
def _learnt() -> Classifier[Approach]:
    examples: defaultdict[Approach, list[str]] = defaultdict(list)
    for path in sorted(Path(__file__).parent.glob("situations*.yaml")):
        for name, texts in read_yaml(path).items():
            examples[name] += texts
    for case in cases():
        examples[case.approach].append(case.task)
    return Classifier(examples)


def votes(held: set[str], precedents: list[Hit[Case]], alike: Votes) -> tuple[Votes, dict[str, list[Fact]]]:
    """The sum of the weights for each approach, and the rules behind it."""
    sums: defaultdict[str, float] = defaultdict(float, alike)
    reasons: defaultdict[str, list[Fact]] = defaultdict(list)
    for rule in facts("rules"):
        signal, name = rule.id.split(".")
        if signal in held and isinstance(rule.value, int | float):
            sums[name] += rule.value
            reasons[name].append(rule)
    for hit in precedents:
        sums[hit.item.approach] += CASE_VOTES * hit.score / precedents[0].score
    return dict(sums), dict(reasons)


def choose(sums: Votes) -> Approach:
    """The approach with most votes; ties go to the cheaper one, which stands first. A tune needs a minimum of votes."""
    best = max(APPROACHES, key=lambda each: sums.get(each, 0.0))
    if best == "fine_tune" and sums["fine_tune"] < number("gates", "least_for_tune"):
        return "prompt"
    return best


def score(situation: Situation) -> int:
    """The score table for a tune: at `tune_at` tune, at `pilot_at` pilot. Unknown counts nothing."""
    held = signals(situation)
    rows = {
        "score_behaviour": bool(held & {"style_or_format", "narrow_task", "labels_closed_set", "wrong_content"}),
        "score_many_examples": "many_examples" in held,
        "score_some_examples": "some_examples" in held,
        "score_gap": "large_gap" in held,
        "score_break_even": "high_volume" in held,
        "score_prompt_tokens": "long_prompt" in held,
        "score_latency": "latency_or_privacy" in held,
        "score_teacher": bool(situation.teacher),
        "score_open_ended": "open_ended" in held,
        "score_agreement": situation.agreement is not None and situation.agreement < number("gates", "agreement_floor"),
        "score_no_owner": situation.retrain_owner is False,
        "score_safety": bool(situation.safety_critical),
    }
    return int(sum(number("gates", row) for row, true in rows.items() if true))


def signals(now: Situation) -> set[str]:
    """The names of the rules in `facts/rules.yaml` that hold. What is unknown holds nowhere."""
    found = {name for name in PLAIN_SIGNALS if getattr(now, name)}
    found |= _from_data(now) | _from_gap(now) | _from_trials(now) | _from_volume(now)
    if found & {"needs_facts", "knowledge_changes"} and "style_or_format" in found:
        found.add("facts_and_behaviour")
    if "wrong_content" in found:
        found.discard("format_only")
    if "many_examples" in found:
        found.discard("off_the_shelf")
    return found or {"nothing"}


def _from_volume(now: Situation) -> set[str]:
    found = set()
    if now.high_volume or break_even.pays(now):
        found.add("high_volume")
    if (now.prompt_tokens or 0) >= number("gates", "removable_prompt_tokens"):
        found.add("long_prompt")
    if now.budget_usd is not None and now.budget_usd < break_even.spent(now):
        found.add("budget_short")
    return found


def _from_data(now: Situation) -> set[str]:
    if now.examples is None:
        return {"many_examples"} if now.plenty_of_data else set()
    steps = (
        ("no_examples", "min_examples"), ("few_examples", "few_shot_below"), ("pilot_examples", "pilot_below"),
        ("some_examples", "many_examples"),
    )  # fmt: skip
    below = (signal for signal, gate in steps if now.examples < number("gates", gate))
    return {next(below, "many_examples")}


def _from_gap(now: Situation) -> set[str]:
    if now.baseline is None or now.target is None:
        return set()
    gap = now.target - now.baseline
    if gap <= 0:
        return {"goal_reached"}
    if gap < number("gates", "min_useful_gain"):
        return {"small_gap"}
    return {"large_gap"} if gap >= number("gates", "large_gap") - 1e-9 else set()


def _from_trials(now: Situation) -> set[str]:
    held = {
        "prompting_failed": bool(now.tried_few_shot or (now.tried_prompt and now.tried_few_shot is not False)),
        "few_shot_untried": now.tried_few_shot is False,
        "prompt_untried": now.tried_prompt is False,
        "rag_failed": now.tried_rag is True,
        "fine_tune_failed": now.tried_fine_tune is True,
    }
    return {name for name, true in held.items() if true}
