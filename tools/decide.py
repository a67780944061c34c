"""Prompt, few-shot, retrieval, fine-tune, both, or something else: the best label on what is known, with reasons."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic import BaseModel

from knowledge.load import fact, facts, number, questions, references
from knowledge.rows import Approach, Case, Fact, Question
from knowledge.search import Hit
from tools import break_even
from tools.base import Args, Result, Tool
from tools.break_even import BreakEven
from tools.replies import replies
from tools.situation import Situation, extract
from tools.weigh import APPROACHES, choose, likeness, near_cases, score, signals, votes

NAMES: dict[Approach, str] = {
    "prompt": "Work on the prompt; do not fine-tune yet",
    "few_shot": "Put worked examples into the prompt; do not fine-tune yet",
    "rag": "Use retrieval (RAG), not fine-tuning",
    "fine_tune": "Fine-tune a small model",
    "rag_plus_fine_tune": "Combine retrieval with a fine-tune",
    "other": "Use another tool than a fine-tune",
}
SHORT: dict[Approach, str] = {
    "prompt": "the prompt", "few_shot": "few-shot examples", "rag": "retrieval", "fine_tune": "a fine-tune",
    "rag_plus_fine_tune": "retrieval with a fine-tune", "other": "another tool",
}  # fmt: skip
MOST_REASONS = 4
MOST_QUESTIONS = 3
LEAST = 0.3
"""The confidence where nothing was stated."""


class DecideArgs(Args):
    question: str
    """the user's question or description, in their words"""
    situation: Situation | None = None
    """what is known from before; the question's own statements win"""
    task: str | None = None
    """what the user told of the task before, in their words"""
    asked: tuple[str, ...] = ()
    """the questions that the text replies to, as they were put"""


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
    changes: list[str]
    """which answers to those questions would lead to which other approach"""
    score: int
    """of the table for a tune in `facts/gates.yaml`"""
    break_even: list[BreakEven]
    """where the volume is known"""


class DecideResult(Result):
    decision: Decision
    situation: Situation
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        found = self.decision
        sure = "fairly sure" if found.confidence >= 0.7 else "a first lean" if found.confidence < 0.5 else "likely"
        lines = [f"**{NAMES[found.approach]}** ({sure}, {found.confidence:.0%})."]
        if found.confidence <= LEAST:
            lines = [
                f"Too little is said to decide: by its words alone your task is most like those where "
                f"**{SHORT[found.approach]}** was right ({found.confidence:.0%})."
            ]
        lines += [f"- {each.text} [{each.source}]" for each in found.because]
        lines += ["", "Next: " + found.next[0], *(f"Then: {each}" for each in found.next[1:2])]
        if money := break_even.told(self.situation):
            lines += ["", f"Break-even: {money} [{', '.join(_cited(found.break_even))}]"]
        if found.changes:
            lines += ["", "What would change this: " + " ".join(found.changes)]
        return "\n".join(lines)


def decide(args: DecideArgs) -> DecideResult:
    situation = extract(args.question, args.situation)
    situation = situation.model_copy(update=replies(args.question, args.asked))
    told = args.task or args.question
    precedents = near_cases(told)
    held, alike = signals(situation), likeness(told)
    sums, reasons = votes(held, precedents, alike)
    best = choose(sums)
    because = _because(best, reasons, precedents)
    open_ = _open_questions(situation, best, lambda now: choose(votes(signals(now), precedents, alike)[0]))
    money = break_even.break_even(situation)
    decision = Decision(
        approach=best,
        confidence=LEAST if because[0].text == fact("gates", "alike").quoted() else _confidence(sums, best, held),
        because=because,
        missing=[question.ask for question, _ in open_],
        next=_next(situation, best),
        changes=[change for _, changes in open_ for change in changes][:MOST_QUESTIONS],
        score=score(situation),
        break_even=money,
    )
    cited = [each.source for each in because] + _cited(money)
    return DecideResult(decision=decision, situation=situation, sources=references(cited))


def _cited(money: list[BreakEven]) -> list[str]:
    return list(dict.fromkeys(source for each in money for source in each.sources))


def _because(best: str, reasons: dict[str, list[Fact]], precedents: list[Hit[Case]]) -> list[Reason]:
    """The weightiest rules for the approach, the nearest case that took it, then the rules against a tune."""
    mine = sorted((rule for rule in reasons.get(best, []) if _weight(rule) > 0), key=_weight, reverse=True)
    case = next((hit.item for hit in precedents if hit.item.approach == best), None)
    if "fine_tune" not in best:
        mine += sorted((rule for rule in reasons.get("fine_tune", []) if _weight(rule) < 0), key=_weight)
    if best == "prompt" and not mine:
        mine = [rule for rule in facts("rules") if rule.id == "nothing.prompt"]
    if not any(_weight(rule) > 0 for rule in mine) and not case:
        mine.insert(0, fact("gates", "alike"))
    found = [Reason(text=rule.quoted(), source=rule.source[0]) for rule in mine]
    if case:
        found.insert(
            min(2, len(found)), Reason(text=f"A published case near yours: {case.outcome}", source=case.source[0])
        )
    return found[:MOST_REASONS]


def _weight(rule: Fact) -> float:
    return float(rule.value) if isinstance(rule.value, int | float) else 0.0


def _confidence(sums: dict[str, float], best: str, held: set[str]) -> float:
    """From the lead over the next best, between `LEAST` (nothing known) and 0.95."""
    if held == {"nothing"}:
        return LEAST
    others = [weight for name, weight in sums.items() if name != best]
    lead = sums.get(best, 0.0) - max([0.0, *others])
    return round(min(0.95, max(LEAST, 0.4 + 0.55 * (1 - math.exp(-lead / 4)))), 2)


def _open_questions(
    now: Situation, best: Approach, approach: Callable[[Situation], Approach]
) -> list[tuple[Question, list[str]]]:
    """At most three open questions, those first whose answers turn the decision, each with what it would turn to."""
    if best == "other":
        return []
    found = []
    for question in questions():
        if getattr(now, question.field) is not None or (question.unless and getattr(now, question.unless) is not None):
            continue
        turned = [(answer.words, approach(now.model_copy(update=answer.sets))) for answer in question.answers]
        found.append((question, [f"If {words}: {SHORT[other]}." for words, other in turned if other != best]))
    found.sort(key=lambda pair: -len(pair[1]))
    return found[:MOST_QUESTIONS]


def _next(now: Situation, best: Approach) -> list[str]:
    """Concrete steps, the cheapest measurement first."""
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
    }[best]  # fmt: skip
    first = []
    if now.evals_exist is False:
        first.append("build a test set and a baseline first; without them nothing can be decided.")
    if "fine_tune" in best and (now.retires_months or 99) < number("gates", "retirement_months"):
        first.append("choose another base model: yours retires too soon to repay a tune.")
    if best == "fine_tune" and _pilot(now):
        rows = int(number("gates", "pilot_rows"))
        few = (now.examples or 0) < number("gates", "pilot_below")
        first.append(f"run a pilot with {rows} examples only." if few else "run a short pilot before a full training.")
    return [*first, *steps]


def _pilot(now: Situation) -> bool:
    """Few rows, or a score between `pilot_at` and `tune_at` where the number of rows is known."""
    if now.examples is None:
        return False
    return now.examples < number("gates", "pilot_below") or score(now) < number("gates", "tune_at")


DECIDE = Tool(
    name="decide",
    reads_only=True,
    description=(
        "Whether to fine-tune, or to use prompting, few-shot, retrieval, both, or another tool. Call it for any "
        "question of the kind 'should I fine-tune for X', with what the user has said about data, goal and volume."
    ),
    args=DecideArgs,
    result=DecideResult,
    run=decide,
    command='finetune ask "{question}"',
)

__all__ = ["APPROACHES", "DECIDE", "DecideArgs", "DecideResult", "Decision", "decide"]
