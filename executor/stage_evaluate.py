"""The stages that measure: baselines before training, the tuned model after it, and what else it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import answer, asked, question_key, sources_of
from executor.errors import ServiceError, UserError
from executor.evaluate.preference import preferred
from executor.evaluate.slices import parts, sliced, worst
from executor.evaluate.statistics import Clusters, compare, holm, interval
from executor.evaluate.verdict import Scores, best_system, decide, verdict
from executor.files import read_jsonl
from executor.job import Job
from executor.run_folder import RunFolder
from executor.stage_answers import (
    Base,
    answer_rival,
    answer_rows,
    ask_endpoint,
    choices,
    cost,
    load_tuned,
    other_name,
)
from executor.stage_suites import run_suites, untuned

WHOLE = 24
"""characters; a shorter question can stand in a document by chance"""


def baselines(job: Job) -> dict[str, Any]:
    """Every baseline on the sealed test rows, cheapest first; one whose outputs are on disk is not asked again.

    Without `every_system` it ends where the question is settled: what is left out is named.
    """
    base, scores = Base(job), Scores()
    settings = job.spec.evaluate
    unasked = [endpoint for endpoint in settings.endpoints if not job.run.outputs(endpoint.name).exists()]
    for endpoint in unasked:
        ask_endpoint(job, endpoint, rows=1)
    if settings.against and not job.run.outputs(other_name(job)).exists():
        answer_rival(job)
    left_out: list[str] = []
    for system in settings.systems:
        if left_out or (scores and not settings.every_system and settled(job, scores)):
            left_out.append(system)
            continue
        if not job.run.outputs(system).exists():
            answer_rows(job, load_tuned(job) if system == "fine_tuned" else base(), system)
        scores[system] = scores_of(job, system)
    for endpoint in unasked:
        ask_endpoint(job, endpoint)
    named = [endpoint.name for endpoint in settings.endpoints] + ([other_name(job)] if settings.against else [])
    scores |= {name: scores_of(job, name) for name in named}
    best = best_system(scores)
    others = {system: score for system, score in scores.items() if system != best}
    return {
        "scores": scores,
        "comparison": compared(job, best, best_system(others)) if others else None,
        "costs": {system: cost(job, system) for system in scores},
        "choices": choices(job),
        "slices": slices(job, best),
        "left_out": left_out,
    }


def settled(job: Job, scores: Scores) -> bool:
    """Whether the cheapest systems already reach the target, or leave less than is useful."""
    settings, value = job.spec.evaluate, scores[best_system(scores)]["task_accuracy"]["value"]
    return bool(settings.target and value >= settings.target) or 1 - value < settings.min_useful_gain


def decide_stage(job: Job) -> dict[str, Any]:
    return decide((job.run.summary("baselines") or {})["scores"], job.spec)


def clusters(job: Job) -> Clusters:
    """The source of each test row, where the user named its column."""
    return sources_of(job.run.rows("test"), job.spec.data.cluster)


def values(job: Job, system: str, name: str = "task_accuracy") -> list[float]:
    return [line["scores"][name] for line in read_jsonl(job.run.outputs(system))]


def known(job: Job, name: str, *systems: str) -> bool:
    """Whether the answers on disk have this score: an older version may not have known it."""
    return all(name in line["scores"] for system in systems for line in read_jsonl(job.run.outputs(system)))


def scores_of(job: Job, system: str) -> dict[str, Any]:
    return job.scorer.scores(read_jsonl(job.run.outputs(system)), clusters(job))


def compared(job: Job, a: str, b: str) -> dict[str, Any]:
    return compare(a, values(job, a), b, values(job, b), job.scorer.binary, clusters(job))


def against_commonest(job: Job, system: str = "fine_tuned") -> dict[str, Any] | None:
    """The system against always answering the commonest label of the test rows; None without labels."""
    if job.spec.data.kind != "label":
        return None
    expected = [answer(row) for row in job.run.rows("test")]
    label = Counter(expected).most_common(1)[0][0]
    fixed = [float(each == label) for each in expected]
    return compare(system, values(job, system), "commonest", fixed, job.scorer.binary, clusters(job))


def comparisons(job: Job, a: str, others: Sequence[str]) -> list[dict[str, Any]]:
    """`a` against each other system on the task, and on the other measures against the best of them; Holm over all."""
    found = [compared(job, a, other) for other in others]
    for name, binary in job.scorer.by_row.items():
        if name != "task_accuracy" and others and known(job, name, a, others[0]):
            b = others[0]
            pair = compare(a, values(job, a, name), b, values(job, b, name), binary, clusters(job))
            found.append(pair | {"metric": name})
    adjusted = holm([each["p_value"] for each in found])
    return [each | {"p_adjusted": p} for each, p in zip(found, adjusted, strict=True)]


def slices(job: Job, system: str) -> dict[str, Any]:
    """Scores of the system's parts of the test rows, and the worst of them."""
    by = parts(job.run.rows("test"), job.spec.data)
    found = sliced(values(job, system), by, job.scorer.binary, clusters(job))
    return {"system": system, "scores": found, "worst": worst(found)}


def evaluate(job: Job) -> dict[str, Any]:
    """The tuned model, loaded from disk as anyone would, on the same rows; then the regression suites."""
    job.run.check_seal()
    model = load_tuned(job)
    if not job.run.outputs("fine_tuned").exists():
        answer_rows(job, model, "fine_tuned")
    before = job.run.summary("baselines") or {}
    base_scores: Scores = before.get("scores", {})
    scores = {**base_scores, "fine_tuned": scores_of(job, "fine_tuned")}
    if all("rejected" in row for row in job.run.rows("test")):
        scores = with_preferences(job, model, scores)
    forgotten = run_suites(job, model)
    regression = forgotten["regression"]
    others = sorted(base_scores, key=lambda system: -base_scores[system]["task_accuracy"]["value"])
    comparison = compared(job, "fine_tuned", best_system(base_scores))
    word, reasons = verdict(
        comparison, scores, regression, against_commonest(job), leaked_rows(job), job.spec, favoured(job)
    )
    return {
        "scores": scores,
        "comparison": comparison,
        "comparisons": comparisons(job, "fine_tuned", others),
        **forgotten,
        "verdict": word,
        "verdict_reasons": reasons,
        "judged": judged(job, comparison["b"]),
        "costs": {**before.get("costs", {}), "fine_tuned": cost(job, "fine_tuned")},
        "slices": slices(job, "fine_tuned"),
    }


def judged(job: Job, other: str) -> dict[str, Any] | None:
    """What a language model holds of the tuned answers beside another system's; None where none was named.

    It is advice: where its server fails, the verdict stands without it.
    """
    if job.spec.evaluate.judge is None:
        return None
    from executor.evaluate.judge import opinions

    lines = [read_jsonl(job.run.outputs(system)) for system in ("fine_tuned", other)]
    where = job.run.path / "opinions"
    spec = job.spec.evaluate.judge
    try:
        found = opinions(spec, lines[0], lines[1], where, lambda n, of: job.guard(n, of, "opinions"))
    except (ServiceError, UserError) as error:
        job.say(f"no opinion of the judge: {error.line()}")
        found = {"judge": spec.name, "failed": error.line()}
    return found | {"against": other}


def judge(job: Job) -> dict[str, Any]:
    """The verdict on a model that a server runs, against the best of what it is held against."""
    before = job.run.summary("baselines") or {}
    scores: Scores = before["scores"]
    name = job.spec.evaluate.endpoints[0].name
    others = {system: cells for system, cells in scores.items() if system != name}
    comparison = compared(job, name, best_system(others))
    word, reasons = verdict(comparison, scores, {}, against_commonest(job, name), 0, job.spec, favoured(job))
    return {
        "comparison": comparison,
        "comparisons": comparisons(job, name, sorted(others)),
        "regression": {},
        "verdict": word,
        "verdict_reasons": reasons,
        "slices": slices(job, name),
    }


def with_preferences(job: Job, model: Any, scores: Scores) -> Scores:
    """The scores with how often the chosen reply of a test row is held to be the likelier one, before and after."""
    rows, settings = job.run.rows("test"), job.spec.train

    def measured(of: Any, name: str) -> dict[str, Any]:
        found = preferred(of, rows, job.template, settings, lambda n: job.guard(n, len(rows), f"{name} preferences"))
        return interval(found, binary=True)

    with untuned(job, model) as base:
        found = {"zero_shot": measured(base, "zero_shot")} if "zero_shot" in scores else {}
    found["fine_tuned"] = measured(model, "fine_tuned")
    more = {system: {"preference_accuracy": value} for system, value in found.items()}
    return {system: score | more.get(system, {}) for system, score in scores.items()}


def leaked_rows(job: Job) -> int:
    """Test rows whose whole question, whatever its casing and spacing, the adapter was trained on."""
    adapter = job.spec.evaluate.adapter
    return trained_on(job, RunFolder(Path(adapter).parent) if adapter else job.run)


def trained_on(job: Job, run: RunFolder) -> int:
    """Test rows that a run was trained on."""
    trained = {question_key(row) for row in run.rows("train")}
    return sum(question_key(row) in trained for row in job.run.rows("test"))


def favoured(job: Job) -> list[str]:
    """What makes the other side look better than it is: a rival trained on test rows, documents that hold them."""
    settings, found = job.spec.evaluate, []
    rival = settings.against or (settings.adapter if job.spec.kind == "endpoint" else None)
    if rival and (known := trained_on(job, RunFolder(Path(rival).parent))):
        found.append(f"{Path(rival).parent.name} was trained on {known} of the test rows, which favours it.")
    held = [" ".join(row["text"].casefold().split()) for row in job.run.rows("documents")]
    asked_there = sum(
        any(question in text for text in held)
        for row in (job.run.rows("test") if held else [])
        if len(question := " ".join(asked(row).casefold().split())) >= WHOLE
    )
    if asked_there:
        found.append(f"The documents hold {asked_there} of the test questions to the letter, which favours rag.")
    return found
