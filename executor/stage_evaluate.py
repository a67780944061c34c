"""The stages that measure: baselines before training, the tuned model after it, and what else it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import answer, question_key
from executor.evaluate.ask import Reply, ask
from executor.evaluate.preference import preferred
from executor.evaluate.slices import parts, sliced, worst
from executor.evaluate.statistics import Clusters, compare, holm, interval
from executor.evaluate.systems import Variant, chosen, prompt_of, variants
from executor.evaluate.verdict import Scores, best_system, decide, verdict
from executor.files import read_json, read_jsonl, write_json, write_jsonl
from executor.job import Job
from executor.prepare_model import in_four_bits
from executor.run_folder import RunFolder
from executor.spec import EndpointSpec, System
from executor.stage_suites import run_suites, untuned
from executor.train.model import load_adapter, load_base


class Base:
    """The base model, loaded when it is first needed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model: Any = None

    def __call__(self) -> Any:
        self.model = self.model or self.job.load_base()
        return self.model


def baselines(job: Job) -> dict[str, Any]:
    """Every baseline on the sealed test rows, cheapest first; one whose outputs are on disk is not asked again.

    Without `every_system` it ends where the question is settled: what is left out is named.
    """
    base, scores = Base(job), Scores()
    settings = job.spec.evaluate
    for endpoint in settings.endpoints:
        if not job.run.outputs(endpoint.name).exists():
            ask_endpoint(job, endpoint)
    if settings.against and not job.run.outputs(other_name(job)).exists():
        rows = job.run.rows("test")
        other = load_folder(job, Path(settings.against))
        asked = [prompt_of(row) for row in rows]
        write_answers(job, other_name(job), asked, ask(job, other, asked, f"{other_name(job)} answers", as_plain=True))
    left_out: list[str] = []
    for system in settings.systems:
        if left_out or (scores and not settings.every_system and settled(job, scores)):
            left_out.append(system)
            continue
        if not job.run.outputs(system).exists():
            answer_rows(job, load_tuned(job) if system == "fine_tuned" else base(), system)
        scores[system] = scores_of(job, system)
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


def answer_rows(job: Job, model: Any, system: System) -> None:
    """Ask one system every test row, score the answers and write `evaluation/SYSTEM.jsonl`."""
    rows = job.run.rows("test")
    way = set_up(job, model, system)
    asked = [way.messages(row) for row in rows]
    tools = [row.get("tools") for row in rows]
    replies = ask(job, model, asked, f"{system} answers", tools, as_plain=system == "fine_tuned")
    write_answers(job, system, asked, replies)


def set_up(job: Job, model: Any, system: System) -> Variant:
    """The way that the validation rows chose, kept in `choices/SYSTEM.json` where there is a choice."""
    ways, file = variants(job, system), job.run.choice(system)

    def measure(rows: Sequence[dict[str, Any]], way: Variant) -> list[float]:
        told = f"{system}: {way.settings.get('way', 'ways')}"
        replies = ask(job, model, [way.messages(row) for row in rows], told, [row.get("tools") for row in rows])
        return [score_of(job, reply.text, answer(row)) for reply, row in zip(replies, rows, strict=True)]

    if ways[0].settings and not file.exists():
        write_json(file, chosen(job, ways, measure))
    settings = read_json(file)["settings"] if file.exists() else {}
    return next((way for way in ways if way.settings == settings), ways[0])


def score_of(job: Job, output: str, expected: str) -> float:
    return float(job.scorer(output, expected)["task_accuracy"])


def choices(job: Job) -> dict[str, Any]:
    """What was chosen on validation rows, by system."""
    files = {system: job.run.choice(system) for system in job.spec.evaluate.systems}
    return {system: read_json(file) for system, file in files.items() if file.exists()}


def ask_endpoint(job: Job, endpoint: EndpointSpec) -> None:
    from executor.evaluate.endpoint import Endpoint  # only where a server was named

    rows = job.run.rows("test")
    asked = [prompt_of(row) for row in rows]
    kept = job.run.outputs(endpoint.name).with_suffix(".part")

    def report(done: int) -> None:
        job.guard(done, len(rows), f"{endpoint.name} answers")

    replies = Endpoint(endpoint).answers(asked, job.answer_limit, kept, report)
    write_answers(job, endpoint.name, asked, replies)
    kept.unlink(missing_ok=True)


def write_answers(job: Job, system: str, asked: Sequence[list[dict[str, Any]]], replies: Sequence[Reply]) -> None:
    lines = []
    for prompt, row, reply in zip(asked, job.run.rows("test"), replies, strict=True):
        expected = answer(row)
        scores = job.scorer(reply.text, expected)
        took = {key: value for key, value in vars(reply).items() if key != "text"}
        lines.append({"prompt": prompt, "expected": expected, "output": reply.text, "scores": scores, **took})
    write_jsonl(job.run.outputs(system), lines)


def cost(job: Job, system: str) -> dict[str, Any]:
    """What a thousand calls take: tokens and seconds as measured, USD at the endpoint's price where it has one."""
    lines = read_jsonl(job.run.outputs(system))
    found: dict[str, Any] = {
        key: 1000 * sum(line.get(key, 0) for line in lines) / len(lines)
        for key in ("prompt_tokens", "output_tokens", "seconds")
    }
    priced = next((each for each in job.spec.evaluate.endpoints if each.name == system), None)
    usd = None
    if priced and priced.usd_in is not None and priced.usd_out is not None:
        usd = (found["prompt_tokens"] * priced.usd_in + found["output_tokens"] * priced.usd_out) / 1e6
    return found | {"usd": usd, "source": priced.price_source if priced else None}


def clusters(job: Job) -> Clusters:
    """The source of each test row, where the user named its column."""
    column = job.spec.data.cluster
    return [str(row.get("columns", {}).get(column, "")) for row in job.run.rows("test")] if column else None


def values(job: Job, system: str, name: str = "task_accuracy") -> list[float]:
    return [line["scores"][name] for line in read_jsonl(job.run.outputs(system))]


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
        if name != "task_accuracy" and others:
            b = others[0]
            pair = compare(a, values(job, a, name), b, values(job, b, name), binary, clusters(job))
            found.append(pair | {"metric": name})
    adjusted = holm([each["p_value"] for each in found])
    return [each | {"p_adjusted": p} for each, p in zip(found, adjusted, strict=True)]


def slices(job: Job, system: str) -> dict[str, Any]:
    """Scores of the system's parts of the test rows, and the worst of them."""
    found = sliced(values(job, system), parts(job.run.rows("test"), job.spec.data), job.scorer.binary)
    return {"system": system, "scores": found, "worst": worst(found)}


def other_name(job: Job) -> str:
    """The run that the tuned model is held against."""
    return Path(job.spec.evaluate.against or "").parent.name


def load_tuned(job: Job) -> Any:
    """The tuned model from disk, as anyone would load it."""
    full = job.spec.train.method == "full"
    return load_folder(job, Path(job.spec.evaluate.adapter or (job.run.model if full else job.run.adapter)))


def load_folder(job: Job, folder: Path) -> Any:
    """An adapter on the base that it names, or a whole model."""
    dtype, config = job.spec.train.dtype, folder / "adapter_config.json"
    if not config.exists():
        return load_base(folder, dtype)
    named = Path(read_json(config)["base_model_name_or_path"])
    if not named.is_dir():  # the cache was moved
        named = in_four_bits(job.base_folder, job.say) if job.spec.train.method == "qlora" else job.base_folder
    return load_adapter(load_base(named, dtype), folder)


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
    word, reasons = verdict(comparison, scores, regression, against_commonest(job), leaked_rows(job), job.spec)
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
    """What a language model holds of the tuned answers beside another system's; None where none was named."""
    if job.spec.evaluate.judge is None:
        return None
    from executor.evaluate.judge import opinions

    lines = [read_jsonl(job.run.outputs(system)) for system in ("fine_tuned", other)]
    where = job.run.path / "opinions"
    found = opinions(job.spec.evaluate.judge, lines[0], lines[1], where, lambda n, of: job.guard(n, of, "opinions"))
    return found | {"against": other}


def judge(job: Job) -> dict[str, Any]:
    """The verdict on a model that a server runs, against the best of what it is held against."""
    before = job.run.summary("baselines") or {}
    scores: Scores = before["scores"]
    name = job.spec.evaluate.endpoints[0].name
    others = {system: cells for system, cells in scores.items() if system != name}
    comparison = compared(job, name, best_system(others))
    word, reasons = verdict(comparison, scores, {}, against_commonest(job, name), 0, job.spec)
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
    trained_in = RunFolder(Path(adapter).parent) if adapter else job.run
    trained = {question_key(row) for row in trained_in.rows("train")}
    return sum(question_key(row) in trained for row in job.run.rows("test"))
