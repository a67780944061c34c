"""What speaks for which cause: patterns, likeness to known symptoms, numbers, and versions with known bugs."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

from packaging.version import InvalidVersion, Version

from knowledge.classify import Classifier
from knowledge.load import causes, models
from knowledge.rows import Affected, Cause, CauseClass
from knowledge.search import Index, words
from tools.material import Material, Rows
from tools.run_record import RunRecord
from tools.run_signs import seen

LINE = 2_000
"""Longer lines are cut: a progress bar or a dumped tensor says nothing more after this."""

READ = 1_500
"""So many characters of the text, its beginning and its end, are compared with known symptoms."""

LIKENESS = 5.0
"""The weight for the cause whose symptoms are most like the text; others get their share of it."""

WORDS = 6
"""A text of fewer words says too little of a class."""

CLASS_LIKENESS = 0.75
"""What the likeness of the text to all symptoms of a class counts."""

VERSION = 2.5
"""The weight for a version with the bug, where something else speaks for the cause as well."""

FIXED = 0.4
"""Factor for a cause that the named version does not have any more."""


@dataclass
class Signals:
    """The weight for each cause id, and the words that were seen."""

    weights: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seen: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    classes: dict[CauseClass, float] = field(default_factory=dict)
    """what speaks for a whole class of causes"""

    def add(self, cause: str, weight: float, words: str) -> None:
        self.weights[cause] += weight
        self.seen[cause].append(words)


def find(material: Material) -> Signals:
    signals = Signals()
    _from_words(material.text, signals)
    _from_likeness(material.text, signals)
    if material.run:
        _from_run(material.run, material.rows, signals)
    else:
        _from_numbers(material, signals)
    _from_versions(material.versions, signals)
    return signals


@cache
def _compiled() -> tuple[tuple[Cause, tuple[tuple[re.Pattern[str], float], ...]], ...]:
    return tuple(
        (cause, tuple((re.compile(pattern, re.I), weight) for pattern, weight in cause.signals)) for cause in causes()
    )


def _from_words(text: str, signals: Signals) -> None:
    """Each signal counts once, however often it occurs."""
    text = "\n".join(line[:LINE] for line in text.splitlines())
    for cause, patterns in _compiled():
        for pattern, weight in patterns:
            if match := pattern.search(text):
                signals.add(cause.id, weight, f"“{' '.join(match.group().split())[:60]}”")


@cache
def _symptoms() -> Index[str]:
    """Every symptom as a document of its own, under its cause's id."""
    rows = [(cause.id, symptom) for cause in causes() for symptom in (*cause.symptoms, cause.evidence)]
    return Index([id_ for id_, _ in rows], [words(symptom) for _, symptom in rows])


@cache
def _learnt() -> Classifier[CauseClass]:
    """Which class a symptom speaks for."""
    examples: defaultdict[CauseClass, list[str]] = defaultdict(list)
    for cause in causes():
        examples[cause.cause_class] += [*cause.symptoms, cause.evidence, cause.cause]
    return Classifier(examples)


def _from_likeness(text: str, signals: Signals) -> None:
    """Of the text to the known symptoms: by BM25 for each cause, where its best symptom counts; learnt for a class."""
    excerpt = text if len(text) <= READ else f"{text[: READ // 2]} {text[-READ // 2 :]}"
    if len(excerpt.split()) >= WORDS:
        signals.classes = {name: CLASS_LIKENESS * score for name, score in _learnt().scores(excerpt).items()}
    best: dict[str, float] = {}
    for hit in _symptoms().search(excerpt):
        best[hit.item] = max(best.get(hit.item, 0.0), hit.score * math.sqrt(hit.share))
    if not best:
        return
    most = max(best.values())
    sure = min(1.0, most / 12)  # a weak best match, as for a stray word, must not count in full
    for cause, score in best.items():
        if score >= 0.4 * most:
            signals.add(cause, LIKENESS * sure * score / most, "")


def _from_run(run: RunRecord, rows: Rows, signals: Signals) -> None:
    """A run of ours: the signs in its record, which know what was set, and what needs no setting to be wrong."""
    for cause, weight, what in seen(run):
        signals.add(cause, weight, what)
    rates = [row["learning_rate"] for row in rows if "learning_rate" in row]
    if len(rates) >= 5 and max(rates) == 0:
        signals.add("schedule_ends_early", 5, "learning rate 0 throughout")


def _from_numbers(material: Material, signals: Signals) -> None:
    """Signals in the curves: not a number, zero from the start, flat, rising, overfitting, no gradient."""
    rows = material.rows
    losses = [row["loss"] for row in rows if "loss" in row]
    finite = [each for each in losses if math.isfinite(each)]
    if len(finite) < len(losses):
        signals.add("fp16_overflow", 5, "a loss that is no finite number")
        signals.add("learning_rate_high", 3, "a loss that is no finite number")
    if len(finite) >= 3 and not any(finite[:3]):
        signals.add("all_labels_masked", 7, "loss 0 from the first step")
        signals.add("fp16_overflow", 2.5, "loss 0 from the first step")
    elif len(finite) >= 3:
        _from_start(finite[0], material.vocabulary, signals)
        _from_trend(finite, signals)
    _from_norms([row["grad_norm"] for row in rows if "grad_norm" in row], signals)
    _from_evaluation(finite, [row["eval_loss"] for row in rows if "eval_loss" in row], signals)
    rates = [row["learning_rate"] for row in rows if "learning_rate" in row]
    _from_rate(material.rate or max(rates, default=None), signals)
    if len(rates) >= 5 and max(rates) == 0:
        signals.add("schedule_ends_early", 5, "learning rate 0 throughout")


def _from_start(first: float, vocabulary: int | None, signals: Signals) -> None:
    """A loss above ln V is worse than guessing every token at random."""
    size = vocabulary or max(row.vocabulary or 0 for row in models())
    if first > 1.05 * math.log(size):
        told = f"first loss {first:.3g}, above ln {size:,} = {math.log(size):.1f}, the loss of blind guessing"
        signals.add("untrained_embeddings", 4, told)
        signals.add("fp16_overflow", 2.5, told)
        signals.add("accumulation_normalised_wrongly", 2.5, told)


def _from_trend(losses: list[float], signals: Signals) -> None:
    """Compares the means of the first and the last quarter; a spike is ten times the median."""
    quarter = max(1, len(losses) // 4)
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    told = f"loss {first:.3g} at first, {last:.3g} at last"
    if last > 1.3 * first:
        signals.add("learning_rate_high", 5, told)
    elif len(losses) >= 10 and abs(last - first) < 0.02 * first:
        signals.add("learning_rate_low", 4, told)
        signals.add("checkpointing_without_input_grads", 2, told)
    middle = sorted(losses)[len(losses) // 2]
    if max(losses) > 10 * middle and last <= 1.3 * first:
        signals.add("learning_rate_high", 3, f"a spike to {max(losses):.3g}")


def _from_norms(norms: list[float], signals: Signals) -> None:
    finite = [each for each in norms if math.isfinite(each)]
    if len(finite) < len(norms):
        signals.add("fp16_overflow", 4, "a gradient norm that is no finite number")
    if norms and finite and not any(finite):
        signals.add("adapter_frozen", 6, "gradient norm 0 throughout")
        signals.add("checkpointing_without_input_grads", 4, "gradient norm 0 throughout")
    elif len(finite) >= 3 and sorted(finite)[len(finite) // 2] > 50:
        told = f"a median gradient norm of {sorted(finite)[len(finite) // 2]:.3g}"
        signals.add("learning_rate_high", 2, told)
        signals.add("rslora_scale", 2, told)


def _from_evaluation(losses: list[float], evals: list[float], signals: Signals) -> None:
    finite = [each for each in evals if math.isfinite(each)]
    if len(finite) < len(evals):
        signals.add("evaluation_wrong", 4, "an evaluation loss that is no finite number")
        signals.add("answers_cut", 3, "an evaluation loss that is no finite number")
    if len(finite) >= 3 and losses and finite[-1] > 1.05 * min(finite) and losses[-1] < losses[0]:
        signals.add("overfit", 7, f"evaluation loss {min(finite):.3g} at best, {finite[-1]:.3g} at last")


def _from_rate(rate: float | None, signals: Signals) -> None:
    """The set rate sharpens a suspicion that the curve or the words raised; alone it proves nothing."""
    if rate is None:
        return
    if rate >= 1e-3 and signals.weights["learning_rate_high"]:
        signals.add("learning_rate_high", 2, f"learning rate {rate:g}")
    if 0 < rate <= 3e-5 and signals.weights["learning_rate_low"]:
        signals.add("learning_rate_low", 2, f"learning rate {rate:g}")


def _from_versions(versions: dict[str, str], signals: Signals) -> None:
    """A known bug counts where its version is named, and hardly where the named version is past it."""
    for cause in causes():
        named = [(each, versions[each.package]) for each in cause.affected if each.package in versions]
        if not named or not signals.weights.get(cause.id):
            continue
        hit = next(((each, version) for each, version in named if _has_bug(each, version)), None)
        if hit:
            signals.add(cause.id, VERSION, f"{hit[0].package} {hit[1]}")
        else:
            signals.weights[cause.id] *= FIXED


def _has_bug(affected: Affected, version: str) -> bool:
    try:
        found = Version(version)
        after = affected.since is None or found >= Version(affected.since)
        return after and (affected.fixed_in is None or found < Version(affected.fixed_in))
    except InvalidVersion:
        return False
