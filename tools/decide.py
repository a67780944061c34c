"""Prompt, few-shot, retrieval, fine-tune, both, or something else: the best label on what is known, with reasons."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Literal, get_args

from pydantic import BaseModel

from knowledge.load import Fact, facts, number, references
from tools.base import Args, Result, Tool
from tools.situation import Situation, extract

Approach = Literal["prompt", "few_shot", "rag", "fine_tune", "rag_plus_fine_tune", "other"]

APPROACHES: tuple[Approach, ...] = get_args(Approach)
"""cheapest first"""

NAMES: dict[Approach, str] = {
    "prompt": "Work on the prompt; do not fine-tune yet",
    "few_shot": "Put worked examples into the prompt; do not fine-tune yet",
    "rag": "Use retrieval (RAG), not fine-tuning",
    "fine_tune": "Fine-tune a small model",
    "rag_plus_fine_tune": "Combine retrieval with a fine-tune",
    "other": "Use another tool than a fine-tune",
}
MOST_REASONS = 4

PLAIN_SIGNALS = (
    "needs_facts", "knowledge_changes", "style_or_format", "format_only", "wrong_content", "labels_closed_set",
    "narrow_task", "own_language", "general_knowledge", "tabular", "off_the_shelf", "open_ended", "both_asked",
    "latency_or_privacy", "small_effort",
)  # fmt: skip
"""Fields of a situation that are signals as they stand."""


class DecideArgs(Args):
    question: str
    """the user's question or description, in their words"""
    situation: Situation | None = None
    """what is known from before; the question's own statements win"""


class Reason(BaseModel):
    text: str
    source: str


class Decision(BaseModel):
    approach: Approach
    confidence: float
    """0..1"""
    because: list[Reason]
    missing: list[str]
    """at most three questions, the most decisive first"""
    next: list[str]


class DecideResult(Result):
    decision: Decision
    situation: Situation
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        found = self.decision
        sure = "fairly sure" if found.confidence >= 0.7 else "a first lean" if found.confidence < 0.5 else "likely"
        lines = [f"**{NAMES[found.approach]}** ({sure}, {found.confidence:.0%})."]
        lines += [f"- {each.text} [{each.source}]" for each in found.because]
        if found.missing:
            lines += ["", "What would change this: " + " ".join(found.missing)]
        lines += ["", "Next: " + found.next[0], *(f"Then: {each}" for each in found.next[1:2])]
        return "\n".join(lines)


def decide(args: DecideArgs) -> DecideResult:
    situation = extract(args.question, args.situation)
    signals = _signals(situation)
    votes, reasons = _votes(signals)
    approach = _choose(votes)
    because = _because(approach, reasons)
    decision = Decision(
        approach=approach,
        confidence=_confidence(votes, approach, signals),
        because=because,
        missing=_missing(situation, approach),
        next=_next(situation, approach),
    )
    return DecideResult(decision=decision, situation=situation, sources=references(each.source for each in because))


def score(situation: Situation) -> int:
    """The score table for a tune: at `tune_at` tune, at `pilot_at` pilot. Unknown counts nothing."""
    signals = _signals(situation)
    held = {
        "score_behaviour": bool(signals & {"style_or_format", "narrow_task", "labels_closed_set", "wrong_content"}),
        "score_many_examples": "many_examples" in signals,
        "score_some_examples": "some_examples" in signals,
        "score_gap": "large_gap" in signals,
        "score_break_even": "high_volume" in signals,
        "score_prompt_tokens": "long_prompt" in signals,
        "score_latency": "latency_or_privacy" in signals,
        "score_teacher": bool(situation.teacher),
        "score_open_ended": "open_ended" in signals,
        "score_agreement": situation.agreement is not None and situation.agreement < number("gates", "agreement_floor"),
        "score_no_owner": situation.retrain_owner is False,
        "score_safety": bool(situation.safety_critical),
    }
    return int(sum(number("gates", row) for row, true in held.items() if true))


def _signals(now: Situation) -> set[str]:
    """The names of the rules in `facts/rules.yaml` that hold. What is unknown holds nowhere."""
    found = {name for name in PLAIN_SIGNALS if getattr(now, name)}
    found |= _data_signals(now) | _gap_signals(now) | _trial_signals(now)
    calls = (now.calls_per_month or 0) * number("gates", "break_even_months")
    if now.high_volume or calls >= number("gates", "break_even_calls"):
        found.add("high_volume")
    if (now.prompt_tokens or 0) >= number("gates", "removable_prompt_tokens"):
        found.add("long_prompt")
    if found & {"needs_facts", "knowledge_changes"} and "style_or_format" in found:
        found.add("facts_and_behaviour")
    if "wrong_content" in found:
        found.discard("format_only")
    return found or {"nothing"}


def _data_signals(now: Situation) -> set[str]:
    if now.examples is None:
        return {"many_examples"} if now.plenty_of_data else set()
    steps = (
        ("no_examples", "min_examples"), ("few_examples", "few_shot_below"), ("pilot_examples", "pilot_below"),
        ("some_examples", "many_examples"),
    )  # fmt: skip
    below = (signal for signal, gate in steps if now.examples < number("gates", gate))
    return {next(below, "many_examples")}


def _gap_signals(now: Situation) -> set[str]:
    if now.baseline is None or now.target is None:
        return set()
    gap = now.target - now.baseline
    if gap <= 0:
        return {"goal_reached"}
    if gap < number("gates", "min_useful_gain"):
        return {"small_gap"}
    return {"large_gap"} if gap >= number("gates", "large_gap") - 1e-9 else set()


def _trial_signals(now: Situation) -> set[str]:
    held = {
        "prompting_failed": bool(now.tried_few_shot or (now.tried_prompt and now.tried_few_shot is not False)),
        "few_shot_untried": now.tried_few_shot is False,
        "prompt_untried": now.tried_prompt is False,
        "rag_failed": now.tried_rag is True,
        "fine_tune_failed": now.tried_fine_tune is True,
    }
    return {name for name, true in held.items() if true}


def _votes(signals: set[str]) -> tuple[dict[str, float], dict[str, list[Fact]]]:
    """The sum of the weights for each approach, and the rules behind it."""
    votes: defaultdict[str, float] = defaultdict(float)
    reasons: defaultdict[str, list[Fact]] = defaultdict(list)
    for rule in facts("rules"):
        signal, approach = rule.id.split(".")
        if signal in signals and isinstance(rule.value, int | float):
            votes[approach] += rule.value
            reasons[approach].append(rule)
    return dict(votes), dict(reasons)


def _choose(votes: dict[str, float]) -> Approach:
    """The approach with most votes; ties go to the cheaper one, which stands first. A tune needs a minimum of votes."""
    best = max(APPROACHES, key=lambda each: votes.get(each, 0.0))
    if best == "fine_tune" and votes["fine_tune"] < number("gates", "least_for_tune"):
        return "prompt"
    return best


def _because(approach: str, reasons: dict[str, list[Fact]]) -> list[Reason]:
    """The weightiest rules for the approach, then the weightiest against a tune where none was chosen."""
    mine = sorted((rule for rule in reasons.get(approach, []) if _weight(rule) > 0), key=_weight, reverse=True)
    if "fine_tune" not in approach:
        mine += sorted((rule for rule in reasons.get("fine_tune", []) if _weight(rule) < 0), key=_weight)
    mine = mine or [rule for rule in facts("rules") if rule.id == "nothing.prompt"]
    return [Reason(text=rule.text, source=rule.source[0]) for rule in mine[:MOST_REASONS]]


def _weight(rule: Fact) -> float:
    return float(rule.value) if isinstance(rule.value, int | float) else 0.0


def _confidence(votes: dict[str, float], approach: str, signals: set[str]) -> float:
    """From the lead over the next best, between 0.3 (nothing known) and 0.95."""
    if signals == {"nothing"}:
        return 0.3
    others = [weight for name, weight in votes.items() if name != approach]
    lead = votes.get(approach, 0.0) - max([0.0, *others])
    return round(min(0.95, max(0.3, 0.4 + 0.55 * (1 - math.exp(-lead / 4)))), 2)


def _missing(now: Situation, approach: str) -> list[str]:
    """Questions whose answers could turn the decision, the most decisive first, at most three."""
    if approach == "other":
        return []
    questions = (
        (now.examples is None and not now.plenty_of_data, "How many clean labelled examples do you have?"),
        (now.baseline is None, "What does your best prompt with examples reach on a fixed test set today?"),
        (now.target is None, "Which score would be good enough?"),
        (now.knowledge_changes is None and now.needs_facts is None,
         "Do the answers need facts or documents, and how often do those change?"),
        (now.tried_few_shot is None, "Have you tried a handful of examples in the prompt?"),
        (now.calls_per_month is None, "How many calls a month do you expect?"),
    )  # fmt: skip
    return [question for open_, question in questions if open_][:3]


def _next(now: Situation, approach: str) -> list[str]:
    """Concrete steps, first things first."""
    measure = "measure the plain prompt and few-shot on the same sealed test rows: `finetune compare DATA`."
    steps = {
        "prompt": ["write down 50 test rows with the right answers and improve the prompt against them.", measure],
        "few_shot": ["put 5 to 20 varied worked examples into the prompt.", measure],
        "rag": ["write 50 questions with their answers from your documents, and score the bare model on them first.",
                "check that the right passage is among the first five before blaming the model."],
        "fine_tune": [measure, "plan a first run and read its cost: `finetune plan DATA`."],
        "rag_plus_fine_tune": [
            "measure retrieval alone first, on questions with known answers.",
            "then train on rows that contain the retrieved passages: `finetune go DATA`."],
        "other": ["try the other tool on 50 of your rows and keep the score as the one to beat."],
    }[approach]  # fmt: skip
    if now.evals_exist is False:
        return ["build a test set and a baseline first; without them nothing can be decided.", *steps]
    if approach == "fine_tune" and now.examples is not None and now.examples < number("gates", "pilot_below"):
        return [f"run a pilot with {int(number('gates', 'pilot_rows'))} examples only.", *steps]
    return steps


DECIDE = Tool(
    name="decide",
    description=(
        "Whether to fine-tune, or to use prompting, few-shot, retrieval, both, or another tool. Call it for any "
        "question of the kind 'should I fine-tune for X', with what the user has said about data, goal and volume."
    ),
    args=DecideArgs,
    result=DecideResult,
    run=decide,
    command='finetune ask "{question}"',
)
