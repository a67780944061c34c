"""The gates before training and the verdict after it: measured figures in, reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executor.evaluate.metrics import METRICS, metric_name
from executor.evaluate.power import DISCORDANT, detectable_difference, rows_needed
from executor.spec import MetricName, RunSpec

APPROACH = {"few_shot": "few_shot", "rag": "rag", "fine_tuned": "fine_tune"}
"""any other system, a named endpoint among them, is a prompt"""
WORDS = {
    "zero_shot": "The prompt alone",
    "prompt": "A better prompt",
    "few_shot": "Few-shot examples",
    "rag": "Retrieval",
}
SMALL_MODEL = 1_000_000_000
"""parameters; below it a failed prompt says nothing about prompting in general"""
ADEQUATE = 0.10
"""a test that would show a difference of so much is large enough to say that there is none"""
FEW_SOURCES = 6
"""sources of test rows; of fewer, no permutation of signs is rarer than one in twenty"""
SIGNIFICANT = 0.05
Scores = dict[str, dict[str, dict[str, Any]]]


def best_system(scores: Scores) -> str:
    """The system with the highest task accuracy; on a tie the cheaper one, which comes first."""
    return max(scores, key=lambda system: scores[system]["task_accuracy"]["value"])


def decide(scores: Scores, spec: RunSpec) -> dict[str, Any]:
    """The contract's `decision` on measured baselines, plus `tune`: whether training can still pay."""
    settings = spec.evaluate
    best = best_system(scores)
    score = scores[best]["task_accuracy"]
    left = 1 - score["value"]
    by = f"{WORDS[best]} {got(score, spec)}" if best in WORDS else f"The model {best} {got(score, spec)}"
    using = f" with {spec.model.name}" if best in WORDS else ", prompted"
    measured = f"{by} on {score['n']} sealed test rows{using}."
    because = [reason(measured, spec, "measured")]
    # At most what is left can differ in the tuned model's favour. The formula is for right-or-wrong answers.
    smallest = detectable_difference(score["n"], min(DISCORDANT, left)) if binary(spec) else 0.0
    settled = None
    if settings.target and score["value"] >= settings.target:
        settled = f"That meets the target of {settings.target:.0%}: nothing is left for training to win."
        rule = "target"
    elif settings.target and score["value"] >= settings.prompt_share_of_target * settings.target:
        share = settings.prompt_share_of_target
        settled = f"That is over {share:.0%} of the target of {settings.target:.0%}: improve the prompt first."
        rule = "prompt_share_of_target"
    elif left < settings.min_useful_gain:
        settled = f"Less than {settings.min_useful_gain:.0%} is left to win."
        rule = "min_useful_gain"
    elif left < smallest:
        settled = f"{score['n']} test rows can show a gain of {smallest:.0%} or more; only {left:.0%} is left."
        rule = "detectable_difference"
    if settled:
        because.append(reason(settled, spec, rule))
        more = "Add test rows, or run again without --target, to train anyway." if rule != "min_useful_gain" else ""
        return decision(spec, APPROACH.get(best, "prompt"), 0.8, because, [n for n in (more,) if n]) | {"tune": False}
    if not binary(spec):
        gap, rule = "Answers still differ from the expected ones: a LoRA is worth measuring.", "measured"
    else:
        gap = f"{left:.0%} is left to win and this test can show {smallest:.0%}: a LoRA is worth measuring."
        rule = "detectable_difference"
    because.append(reason(gap, spec, rule))
    return decision(spec, "fine_tune", 0.6, because, ["Train and test on the same rows."]) | {"tune": True}


def decision(spec: RunSpec, approach: str, confidence: float, because: list[Any], steps: list[str]) -> dict[str, Any]:
    """The contract's shape. A small base model lowers the confidence and names the measurement that would raise it."""
    if spec.evaluate.break_even and not any(each["text"] == spec.evaluate.break_even for each in because):
        because = [*because, {"text": spec.evaluate.break_even, "source": "house-judgement"}]
    missing = [] if spec.evaluate.target else ["What accuracy do you need? Give it with --target."]
    size = spec.model.parameters
    if size is not None and size < SMALL_MODEL:
        confidence = min(confidence, 0.7)
        steps = [*steps, f"Only {spec.model.name} ({size / 1e6:.0f}M parameters) was measured; measure the same prompt "
                 "on the model you would really use before you conclude that prompting is not enough."]  # fmt: skip
    return {"approach": approach, "confidence": confidence, "because": because, "missing": missing, "next": steps}


def after_training(
    spec: RunSpec, before: dict[str, Any], verdict: str, reasons: Sequence[str], scores: Scores
) -> dict[str, Any]:
    """The decision once the tuned model was measured too."""
    others = {system: score for system, score in scores.items() if system != "fine_tuned"}
    approach = "fine_tune" if verdict == "ship" else APPROACH.get(best_system(others), "prompt")
    confidence = {"ship": 0.9, "do_not_ship": 0.8, "inconclusive": 0.5}[verdict]
    because = [*before["because"], *(reason(text, spec, "measured") for text in reasons)]
    steps = {
        "ship": ["The adapter folder of the run loads with peft and transformers as it is."],
        "do_not_ship": ["Keep the best measured alternative; change data or settings before training again."],
        "inconclusive": ["Collect more test rows and evaluate again: finetune evaluate RUN --data TEST."],
    }[verdict]
    return decision(spec, approach, confidence, because, steps)


def reason(text: str, spec: RunSpec, rule: str) -> dict[str, Any]:
    return {"text": text, "source": spec.evaluate.sources.get(rule, "measured")}


def verdict(
    comparison: dict[str, Any],
    scores: Scores,
    regression: dict[str, dict[str, Any]],
    commonest: dict[str, Any] | None,
    leaked: int,
    spec: RunSpec,
    cautions: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """`ship`, `do_not_ship` or `inconclusive`, with the reasons, the deciding one first.

    `commonest`: the comparison with always answering the commonest label; None where answers are no labels.
    `cautions` are told beside the reasons. Rows of fewer than FEW_SOURCES sources show no difference either way.
    """
    settings = spec.evaluate
    name = comparison["a"]
    who = "The tuned model" if name == "fine_tuned" else f"The model {name}"
    tuned = scores[name]["task_accuracy"]
    gain = f"{signed(comparison['difference'])} points ({signed(comparison['low'])} to {signed(comparison['high'])})"
    against = f"against {comparison['b']} on {comparison['n']} rows"
    stops = []
    if leaked:
        stops.append(f"{leaked} test rows were also trained on: the score is not to be trusted.")
    stops += [
        f"The suite {name} lost {signed(s['difference'])} points (at best {signed(s['high'])})."
        for name, s in regression.items()
        if s["verdict"] == "lost"
    ]
    sources = comparison.get("sources")
    few = sources is not None and sources < FEW_SOURCES
    if comparison["high"] < settings.min_useful_gain and not few:
        stops.append(f"The gain is {gain} {against}: below the useful {settings.min_useful_gain:.0%} even at best.")
    plain = no_better(who, tuned, commonest, settings.min_useful_gain)
    if plain and adequate(comparison["n"]) and not few:
        stops.append(plain)
    if stops:
        return "do_not_ship", [*stops, *cautions]
    fits = settings.target is None or tuned["value"] >= settings.target
    unclear = [name for name, s in regression.items() if s["verdict"] == "unclear"]
    warning = [f"Unclear on this few items: {', '.join(unclear)}."] if unclear else []
    shown = comparison["low"] > 0 and comparison["p_value"] < SIGNIFICANT
    if shown and fits and not plain and not few:
        return "ship", [f"{who} gains {gain} {against}; p = {comparison['p_value']:.2g}.", *warning, *cautions]
    reasons = [plain] if plain else []
    if few:
        where = "one source" if sources == 1 else f"{sources} sources"
        reasons.append(f"The test rows come from {where}: at least {FEW_SOURCES} are needed to tell.")
    if not fits:
        reasons.append(f"{who} gets {percent(tuned)}; the target is {settings.target:.0%}.")
    if not shown:
        more = more_rows(comparison, settings.min_useful_gain)
        reasons.append(f"The gain of {gain} {against} may be chance (p = {comparison['p_value']:.2g}){more}.")
    return "inconclusive", [*reasons, *warning, *cautions]


def no_better(who: str, tuned: dict[str, Any], commonest: dict[str, Any] | None, useful: float) -> str:
    """That the model is not shown to be better than one fixed answer; empty where it is."""
    if commonest is None or (commonest["low"] > 0 and commonest["high"] >= useful):
        return ""
    share = tuned["value"] - commonest["difference"]
    fixed = f"always answering the commonest label ({share:.0%})"
    return f"{who} ({percent(tuned)}) is not shown to be usefully better than {fixed}."


def adequate(rows: int) -> bool:
    """Whether so many rows would show a difference of ADEQUATE."""
    return detectable_difference(rows) <= ADEQUATE


def more_rows(comparison: dict[str, Any], useful: float) -> str:
    """How many rows would tell, from the measured share of rows that differ; nothing where that is not known."""
    discordant = comparison.get("discordant")
    if discordant is None:
        return ""
    needed = rows_needed(max(abs(comparison["difference"]), useful), discordant)
    return f"; about {needed} test rows would tell" if needed > comparison["n"] else ""


def got(score: dict[str, Any], spec: RunSpec) -> str:
    return f"got {percent(score)} right" if binary(spec) else f"scores {percent(score)} {name_of(spec)}"


def name_of(spec: RunSpec) -> MetricName:
    return metric_name(spec.evaluate.metric, spec.data)


def binary(spec: RunSpec) -> bool:
    """Whether a row is right or wrong."""
    return METRICS[name_of(spec)].binary


def percent(score: dict[str, Any]) -> str:
    return f"{score['value']:.0%} ({score['low']:.0%} to {score['high']:.0%})"


def signed(share: float) -> str:
    return f"{100 * share:+.0f}"
