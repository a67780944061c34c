"""Why training went wrong: words, a log or a run folder in, ranked causes out, each with a check and a fix."""

from __future__ import annotations

import math
import re
from collections import defaultdict

from pydantic import BaseModel

from knowledge.load import causes, references
from knowledge.rows import Cause, CauseClass
from tools.base import Args, Result, Tool
from tools.material import Material, read
from tools.run_signs import looked_at
from tools.signals import Signals, find

MOST = 6
"""So many diagnoses at most."""

SAME_CLASS = 0.5
"""Factor for the second cause of a class, so that the first three differ; a third is left out."""

LIKELY = 4.0
"""A weight of so much gives a score of 0.63; see `_score`."""

LEAST = 0.8
"""Causes for which less speaks of themselves are not named."""

SURE = 0.7
"""A first cause below this score is a suspicion, and the answer asks for what would tell."""

ALIKE = "the description is like this cause's usual symptoms"
ASKS = (
    (r"\bloss|\bnan\b|converg|overfit", "losses",
     "What were the first, the lowest and the last training and evaluation losses, and the learning rate?"),
    (r"error|exception|crash|fail|traceback|raise", "error", "What is the last line of the error, word for word?"),
    (r"output|answer|generat|respon|repl|infer|predict|gibberish|repeat", "sample",
     "Show one prompt exactly as the model got it, special tokens included, and what it answered."),
    (r"memory|oom\b|slow", "sizes", "Which model, GPU, batch size and sequence length were it, and at which step?"),
)  # fmt: skip
"""What would tell, by what the words speak of: (words, what it is, question)."""


HEALTHY = "If something is wrong all the same, say what you saw: one prompt, its answer, and what you expected."


class DiagnoseArgs(Args):
    symptom: str
    """what went wrong in your own words, or the text of a log, or the path of a log file or a run folder"""


class Diagnosis(BaseModel):
    cause_class: CauseClass
    cause: str
    evidence: str
    check: str
    fix: str
    score: float
    """0..1"""
    sources: list[str]


class DiagnoseResult(Result):
    diagnoses: list[Diagnosis]
    """best first"""
    sources: list[dict[str, str | None]]
    ask: str | None
    """the one thing that would tell, where what was given is not enough"""
    looked_at: tuple[str, ...] = ()
    """of a run of ours that did not fail: which parts of its record there were"""

    def text(self) -> str:
        if not self.diagnoses and self.looked_at:
            parts = ", ".join(self.looked_at)
            return f"Nothing wrong found in this run's own record: {parts}. {self.ask or ''}".strip()
        if not self.diagnoses:
            return f"Not enough to name a cause: I know none that fits. {self.ask} The run's folder or log will do too."
        first, *others = self.diagnoses
        lines = [
            f"**{'A first suspicion' if self.ask else 'Most likely'}:** {first.cause} {_cite(first)}",
            f"- Seen: {first.evidence}",
            f"- Check: {first.check}",
            f"- Fix: {first.fix}",
        ]
        if others:
            lines += ["", "If the check says no:", ""]  # a list that does not begin at 1 ends no paragraph
            lines += [f"{n}. {each.cause} Check: {each.check} {_cite(each)}" for n, each in enumerate(others[:2], 2)]
        if self.ask:
            lines += ["", f"This is not enough to be sure. {self.ask}"]
        return "\n".join(lines)


def diagnose(args: DiagnoseArgs) -> DiagnoseResult:
    material = read(args.symptom.strip())
    ranked = _rank(find(material))
    cited = [each for one in ranked for each in one.sources]
    parts = tuple(looked_at(material.run)) if material.run and not material.run.failure else ()
    ask = HEALTHY if parts and not ranked else _ask(material, ranked)
    return DiagnoseResult(diagnoses=ranked, sources=references(cited), ask=ask, looked_at=parts)


def _ask(material: Material, ranked: list[Diagnosis]) -> str | None:
    """None where the first cause is clear; else the question that fits the words, or the first cause's check."""
    if ranked and ranked[0].score >= SURE:
        return None
    given = {"losses": bool(material.rows), "error": bool(re.search(r"\w(Error|Exception)\b\s*:", material.text))}
    for pattern, what, question in ASKS:
        if re.search(pattern, material.text, re.I) and not given.get(what):
            return question
    return f"Tell me what this check gives: {ranked[0].check}" if ranked else ASKS[1][2]


def _rank(signals: Signals) -> list[Diagnosis]:
    """Causes by their own weight and that of their class."""
    known = {cause.id: cause for cause in causes()}
    by_class: defaultdict[CauseClass, list[tuple[float, str]]] = defaultdict(list)
    for id_, weight in signals.weights.items():
        if weight >= LEAST:
            by_class[known[id_].cause_class].append((weight, id_))
    found = []
    for name, members in by_class.items():
        first, *others = sorted(members, reverse=True)
        found.append((first[0] + signals.classes.get(name, 0.0), first[1]))
        found += [(SAME_CLASS * weight, id_) for weight, id_ in others[:1]]
    best = sorted(found, reverse=True)[:MOST]
    return [_diagnosis(known[id_], max(weight, LEAST), signals.seen[id_]) for weight, id_ in best]


def _diagnosis(cause: Cause, weight: float, seen: list[str]) -> Diagnosis:
    return Diagnosis(
        cause_class=cause.cause_class,
        cause=cause.cause,
        evidence=f"{', '.join(_measured_first(seen)[:3]) or ALIKE}. Typical: {cause.evidence}",
        check=cause.check,
        fix=cause.fix,
        score=_score(weight),
        sources=list(cause.source),
    )


def _measured_first(seen: list[str]) -> list[str]:
    """Numbers say more than quoted words."""
    return sorted((each for each in seen if each), key=lambda each: each.startswith("“"))


def _score(weight: float) -> float:
    """1 − e^(−weight/4): 0.63 at 4, 0.86 at 8, never 1."""
    return round(1 - math.exp(-weight / LIKELY), 3)


def _cite(diagnosis: Diagnosis) -> str:
    return f"[{', '.join(diagnosis.sources)}]"


DIAGNOSE = Tool(
    name="diagnose",
    reads_only=True,
    description=(
        "Why a training run, an evaluation or an exported model misbehaves: ranked causes with a check and a fix. "
        "Call it for any error, strange loss or bad output; pass the user's words, a log, or a run folder."
    ),
    args=DiagnoseArgs,
    result=DiagnoseResult,
    run=diagnose,
    command='finetune doctor "{symptom}"',
)
