"""The stages of a run. Each reads the folder and what earlier stages left, and returns its summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from executor.data.rows import answer, question_key, trained_conversations
from executor.encode import encode, marked, proof
from executor.errors import UserError
from executor.evaluate import suites
from executor.evaluate.generate import generate, settle
from executor.evaluate.preference import preferred
from executor.evaluate.regression import change
from executor.evaluate.score import METHODS, METRICS
from executor.evaluate.shots import few_shot_messages
from executor.evaluate.statistics import compare, interval
from executor.evaluate.verdict import Scores, after_training, best_system, decide, verdict
from executor.files import read_json, read_jsonl, sha256_rows, write_json, write_jsonl
from executor.hardware import environment
from executor.job import Job
from executor.prepare_model import in_four_bits, prepare_model
from executor.run_folder import RunFolder
from executor.spec import Stage
from executor.stage_train import probe, train_stage
from executor.template import ChatTemplate
from executor.train.model import load_adapter, load_base
from executor.train.objective import OBJECTIVES

SUITE_TOKENS = 32


def prepare(job: Job) -> dict[str, Any]:
    """The base model, the rows as they were sealed, and those to be trained fit for it: before anything is measured."""
    write_json(job.run.path / "env.json", environment())
    check_seal(job.run)
    folder = prepare_model(job.spec.model, job.say)
    if job.spec.kind in ("go", "train", "probe"):
        prove_mask(job, ChatTemplate(folder))
    return {"folder": str(folder)}


def prove_mask(job: Job, template: ChatTemplate) -> None:
    """What the loss will see, to `examples.json` and to the log; rows that cannot be trained refuse the run."""
    settings, found = job.spec.train, {}
    for split in ("train", "validation"):
        rows = trained_conversations(job.run.rows(split), settings.objective)
        found[split] = proof([encode(row, template) for row in rows], template, settings.max_length)
    write_json(job.run.path / "examples.json", found)
    for split in found:
        OBJECTIVES[settings.objective].encoded(job.run.rows(split), template, settings, split)
    job.say(marked(found["train"]))


def check_seal(run: RunFolder) -> None:
    """Raises UserError where rows on disk are not those that were recorded when the run was made."""
    for split, sealed in read_json(run.path / "data.json")["splits"].items():
        if sha256_rows(run.rows(split)) != sealed["sha256"]:
            fix = "A score on changed rows means nothing: start a new run from the data file."
            raise UserError(f"The {split} rows changed since this run was made", str(run.data), fix)


def baselines(job: Job) -> dict[str, Any]:
    """Every baseline on the sealed test rows; a system whose outputs are on disk is not asked again."""
    model = None
    for system in job.spec.evaluate.systems:
        if not job.run.outputs(system).exists():
            model = model or job.load_base()
            answer_rows(job, model, system)
    scores: Scores = {system: scores_of(job, system) for system in job.spec.evaluate.systems}
    best = best_system(scores)
    others = {system: score for system, score in scores.items() if system != best}
    return {"scores": scores, "comparison": compared(job, best, best_system(others)) if others else None}


def decide_stage(job: Job) -> dict[str, Any]:
    return decide((job.run.summary("baselines") or {})["scores"], job.spec)


def load_tuned(job: Job) -> Any:
    """The tuned model from disk, as anyone would load it: an adapter on the base it names, or a whole model."""
    full = job.spec.train.method == "full"
    folder = Path(job.spec.evaluate.adapter or (job.run.model if full else job.run.adapter))
    if full:
        return load_base(folder, job.spec.train.dtype)
    if job.spec.train.method == "qlora":
        base = in_four_bits(job.base_folder, job.say)
        return load_adapter(load_base(base, job.spec.train.dtype), folder)
    return load_adapter(job.load_base(), folder)


@contextmanager
def untuned(job: Job, model: Any) -> Iterator[Any]:
    """The base model beside the tuned one; where the adapter's base is the base itself, it is switched off instead."""
    if job.spec.train.method in ("lora", "dora"):
        with model.disable_adapter():
            yield model
    else:
        yield job.load_base()


def evaluate(job: Job) -> dict[str, Any]:
    """The tuned model, loaded from disk as anyone would, on the same rows; then the regression suites."""
    check_seal(job.run)
    model = load_tuned(job)
    if not job.run.outputs("fine_tuned").exists():
        answer_rows(job, model, "fine_tuned")
    base_scores = (job.run.summary("baselines") or {}).get("scores", {})
    scores = {**base_scores, "fine_tuned": scores_of(job, "fine_tuned")}
    if all("rejected" in row for row in job.run.rows("test")):
        scores = with_preferences(job, model, scores)
    regression = run_suites(job, model)
    comparison = compared(job, "fine_tuned", best_system(base_scores))
    expected = [answer(row) for row in job.run.rows("test")]
    word, reasons = verdict(comparison, scores, regression, expected, leaked_rows(job), job.spec)
    return {
        "scores": scores,
        "comparison": comparison,
        "regression": regression,
        "verdict": word,
        "verdict_reasons": reasons,
    }


def with_preferences(job: Job, model: Any, scores: Scores) -> Scores:
    """The scores with how often the chosen reply of a test row is held to be the likelier one, before and after."""
    rows, settings = job.run.rows("test"), job.spec.train

    def measured(of: Any, name: str) -> dict[str, Any]:
        values = preferred(of, rows, job.template, settings, lambda n: job.guard(n, len(rows), f"{name} preferences"))
        return interval(values, binary=True)

    with untuned(job, model) as base:
        found = {"zero_shot": measured(base, "zero_shot")} if "zero_shot" in scores else {}
    found["fine_tuned"] = measured(model, "fine_tuned")
    more = {system: {"preference_accuracy": value} for system, value in found.items()}
    return {system: score | more.get(system, {}) for system, score in scores.items()}


def compared(job: Job, a: str, b: str) -> dict[str, Any]:
    return compare(a, accuracy(job, a), b, accuracy(job, b), job.scorer.binary)


def answer_rows(job: Job, model: Any, system: str) -> None:
    """Ask one system every test row, score the answers and write `evaluation/SYSTEM.jsonl`."""
    rows = job.run.rows("test")
    messages = [system_messages(job, system, row["messages"]) for row in rows]
    prompts = [job.template.prompt_ids(m, row.get("tools")) for m, row in zip(messages, rows, strict=True)]
    limit = job.answer_limit
    started = time.perf_counter()
    ends, size = job.template.end_ids, job.spec.evaluate.batch_size
    answers = generate(model, prompts, ends, limit, size, lambda n: job.guard(n, len(rows), f"{system} answers"))
    if system == "fine_tuned":
        answers = settle(model, prompts, answers, ends, limit, lambda n: job.guard(n, len(rows), "near ties"))
    seconds = (time.perf_counter() - started) / len(rows)
    outputs = [job.template.tokenizer.decode(list(a.ids)).strip() for a in answers]
    lines = []
    for prompt, row, output in zip(messages, rows, outputs, strict=True):
        expected = answer(row)
        scores = job.scorer(output, expected)
        lines.append({"prompt": prompt, "expected": expected, "output": output, "scores": scores, "seconds": seconds})
    write_jsonl(job.run.outputs(system), lines)


def system_messages(job: Job, system: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a system is given for a row: everything before the reply, changed as the system's name says."""
    prompt = messages[:-1]
    if system == "prompt" and job.spec.data.prompt:
        return [{"role": "system", "content": job.spec.data.prompt}, *(m for m in prompt if m["role"] != "system")]
    if system == "few_shot":
        return few_shot_messages(prompt, job.run.rows("train"), job.shots, job.spec.data.seed)
    return prompt


def accuracy(job: Job, system: str) -> list[float]:
    return [line["scores"]["task_accuracy"] for line in read_jsonl(job.run.outputs(system))]


def scores_of(job: Job, system: str) -> dict[str, Any]:
    lines = read_jsonl(job.run.outputs(system))
    binary = {"task_accuracy": job.scorer.binary, "format_compliance": True, "style_match": False}
    return {metric: interval([line["scores"][metric] for line in lines], binary[metric]) for metric in METRICS}


def run_suites(job: Job, model: Any) -> dict[str, Any]:
    """Each bundled suite before and after the tuning; the prompts carry no task instructions."""
    with untuned(job, model) as base:
        before = {name: suite_passes(job, base, name) for name in job.spec.evaluate.suites}
    after = {name: suite_passes(job, model, name) for name in job.spec.evaluate.suites}
    return {name: change(before[name], after[name], job.spec.evaluate.regression_margin) for name in before}


def suite_passes(job: Job, model: Any, name: str) -> list[float]:
    """1.0 for each item of a suite whose answer passes, else 0.0."""
    items = suites.load(name).items
    prompts = [job.template.prompt_ids([{"role": "user", "content": item.prompt}]) for item in items]
    size = job.spec.evaluate.batch_size
    answers = generate(
        model, prompts, job.template.end_ids, SUITE_TOKENS, size, lambda n: job.guard(n, len(items), name)
    )
    texts = [job.template.tokenizer.decode(list(a.ids)) for a in answers]
    return [float(suites.passes(item, text)) for item, text in zip(items, texts, strict=True)]


def leaked_rows(job: Job) -> int:
    """Test rows whose whole question, whatever its casing and spacing, the adapter was trained on."""
    adapter = job.spec.evaluate.adapter
    trained_in = RunFolder(Path(adapter).parent) if adapter else job.run
    trained = {question_key(row) for row in trained_in.rows("train")}
    return sum(question_key(row) in trained for row in job.run.rows("test"))


def report_stage(job: Job) -> dict[str, Any]:
    """summary.json (what the report draws), the two reports, and what the command answers."""
    from executor.report import write_report

    result = result_of(job)
    write_json(
        job.run.path / "summary.json", result | {"estimate": job.spec.estimate, "metric": METHODS[job.spec.data.kind]}
    )
    markdown, html = write_report(job.run.path)
    return result | {"report": str(html), "report_md": str(markdown)}


def result_of(job: Job) -> dict[str, Any]:
    """Everything the finished stages found, under the contract's names."""
    found: dict[str, Any] = {}
    for stage in ("baselines", "train", "evaluate"):
        found |= job.run.summary(stage) or {}
    before = job.run.summary("decide")
    if before is not None:
        before.pop("tune")
        if found.get("verdict"):
            words = found["verdict_reasons"]
            before = after_training(job.spec, before, found["verdict"], words, found["scores"])
    return {
        "run": str(job.run.path),
        "decision": before,
        "scores": found.get("scores"),
        "comparison": found.get("comparison"),
        "regression": found.get("regression"),
        "verdict": found.get("verdict"),
        "verdict_reasons": found.get("verdict_reasons"),
        "metrics": found.get("metrics"),
        **({"sweep": found["sweep"]} if found.get("sweep") else {}),
        "dataset": job.spec.data.version,
    }


RUNNERS: dict[Stage, Callable[[Job], dict[str, Any]]] = {
    "prepare_model": prepare,
    "probe": probe,
    "baselines": baselines,
    "decide": decide_stage,
    "train": train_stage,
    "evaluate": evaluate,
    "report": report_stage,
}


def run_stages(job: Job, started: Callable[[Stage], None]) -> dict[str, Any]:
    """Run what is not done yet, in order; a measured decision not to train skips training and its evaluation."""
    torch.set_num_threads(job.spec.train.threads)
    for stage in job.spec.stages:
        decided = job.run.summary("decide")
        skip = decided is not None and not decided["tune"] and stage in ("train", "evaluate")
        if not skip and job.run.summary(stage) is None:
            started(stage)
            job.run.finish(stage, RUNNERS[stage](job))
        if stage == "prepare_model":
            job.base_folder = Path((job.run.summary(stage) or {})["folder"])
    return job.run.summary("report") or result_of(job)
