"""The training stage: the rate (where several are tried), the processes, the training, and what it leaves on disk."""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data.rows import answer
from executor.errors import UserError
from executor.evaluate.generate import generate
from executor.files import read_json, read_jsonl, write_json, write_jsonl
from executor.job import Job
from executor.place import load_place
from executor.prepare_model import in_four_bits
from executor.run_folder import RunFolder
from executor.spec import RunSpec, SweepSpec
from executor.train.loop import DivergedError, train
from executor.train.model import save_adapter, save_model, to_train
from executor.train.replay import replay_rows
from executor.train.watch import TaskMetric
from executor.train.workers import workers

PROBED_STEPS = 8
"""optimiser steps that a probe measures"""


def train_stage(job: Job) -> dict[str, Any]:
    """Train and save; with a sweep, the rate that was best on the validation rows trains."""
    write_replay(job)
    folder = in_four_bits(job.base_folder, job.say) if job.spec.train.method == "qlora" else job.base_folder
    found = sweep(job, folder, job.spec.sweep) if job.spec.sweep else None
    spec = with_rate(job.spec, found["chosen"]) if found else job.spec
    metrics = train_on_place(job, folder, spec)
    return {"metrics": metrics, "sweep": found} if found else {"metrics": metrics}


def train_on_place(job: Job, folder: Path, spec: RunSpec) -> dict[str, Any]:
    """Train `spec` where `launch.json` says, and save: the metrics."""
    place = load_place(job.run.path)
    if place.launcher == "ray":
        from executor.train.on_ray import train_on_ray

        return train_on_ray(job, folder, spec, place.processes)
    model = to_train(folder, spec)
    with workers(job.run, folder, spec) as world:
        metrics = train(model, job.run, spec, job.template, job.report, job.stop, task_metric(job), world)
    save(job, model, folder)
    del model
    gc.collect()
    return metrics


def write_replay(job: Job) -> None:
    replayed = job.run.data / "replay.jsonl"
    if job.spec.train.replay and not replayed.exists():
        size = job.spec.evaluate.batch_size
        rows = replay_rows(job.load_base(), job.template, job.spec.train.replay, size, job.guard)
        write_jsonl(replayed, rows)


def save(job: Job, model: Any, folder: Path) -> None:
    """The adapter or the whole model, under its name once it is whole."""
    full = job.spec.train.method == "full"
    target = job.run.model if full else job.run.adapter
    built = job.run.path / f".{target.name}"
    shutil.rmtree(built, ignore_errors=True)
    if full:
        save_model(model, folder, built, job.spec.train.dtype)
    else:
        save_adapter(model, folder, built)
    shutil.rmtree(target, ignore_errors=True)
    built.rename(target)


def task_metric(job: Job) -> TaskMetric:
    """The mean task accuracy of a model's answers to the first validation rows, as the spec's `watched_rows` says."""
    rows = job.run.rows("validation")[: job.spec.train.watched_rows]
    prompts = [job.template.prompt_ids(row["messages"][:-1], row.get("tools")) for row in rows]

    def measure(model: Any) -> float | None:
        if not rows:
            return None
        answers = generate(model, prompts, job.template.end_ids, job.answer_limit, job.spec.evaluate.batch_size)
        outputs = [job.template.tokenizer.decode(list(each.ids)).strip() for each in answers]
        scores = [job.scorer(out, answer(row))["task_accuracy"] for out, row in zip(outputs, rows, strict=True)]
        return sum(scores) / len(scores)

    return measure


def probe(job: Job) -> dict[str, Any]:
    """A few steps of the planned training, measured: `steps, first_seconds, step_seconds, memory_bytes, tokens`.

    `first_seconds` is what the first step took beyond the others; `step_seconds` their mean. What was trained is not
    kept.
    """
    folder = in_four_bits(job.base_folder, job.say) if job.spec.train.method == "qlora" else job.base_folder
    run = Trial(job.run.path / "probe", job.run)
    shutil.rmtree(run.path, ignore_errors=True)
    run.path.mkdir(parents=True)
    steps = min(PROBED_STEPS, job.spec.train.steps)
    spec = job.spec.model_copy(update={"train": job.spec.train.model_copy(update={"steps": steps, "select": "last"})})
    found = train(to_train(folder, spec), run, spec, job.template, job.report, job.stop, task_metric(job))
    gc.collect()
    peak = longest_step(job, folder, spec)
    ends = [line["seconds"] for line in read_jsonl(run.metrics_file) if "loss" in line]
    took = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    each = sum(took[1:]) / len(took[1:]) if len(took) > 1 else took[0]
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return {
        "steps": steps,
        "first_seconds": max(0.0, took[0] - each),
        "step_seconds": each,
        "memory_bytes": max(peak, found["peak_memory_bytes"]),
        "tokens": found["tokens"],
    }


def longest_step(job: Job, folder: Path, spec: RunSpec) -> int:
    """Peak memory in bytes of a step on the longest rows: few steps seldom meet them."""
    run = Longest(job.run.path / "longest", job.run, spec.train.batch_size)
    shutil.rmtree(run.path, ignore_errors=True)
    run.path.mkdir(parents=True)
    once = spec.model_copy(update={"train": spec.train.model_copy(update={"steps": 1})})
    found = train(to_train(folder, once), run, once, job.template, lambda *_: None, job.stop)
    shutil.rmtree(run.path, ignore_errors=True)
    return int(found["peak_memory_bytes"])


@dataclass(frozen=True)
class Trial(RunFolder):
    """A short training inside a run: its own metrics and checkpoints, the run's rows."""

    rows_of: RunFolder

    @property
    def data(self) -> Path:
        return self.rows_of.data

    @property
    def reference(self) -> Path:
        return self.rows_of.reference


@dataclass(frozen=True)
class OtherRows(Trial):
    """A trial on rows of its own, which have a reference of their own."""

    @property
    def reference(self) -> Path:
        return self.path / "reference.safetensors"


@dataclass(frozen=True)
class Longest(OtherRows):
    """A training on the longest rows alone."""

    most: int

    def rows(self, split: str) -> list[Any]:
        rows = self.rows_of.rows(split) if split == "train" else []
        return sorted(rows, key=lambda row: len(str(row)))[-self.most :]


def sweep(job: Job, folder: Path, asked: SweepSpec) -> dict[str, Any]:
    """`chosen` and, for each rate, `learning_rate, eval_loss, task_metric, seconds` (None where it diverged).

    Every trial starts from the same adapter, sees the same batches and anneals its own rate to zero. The best has the
    highest task metric where one is measured, then the lowest loss on the validation rows; the test rows stay sealed.
    """
    if not job.run.rows("validation"):
        raise UserError("A sweep needs validation rows to choose by", "sweep", "Give more data, or one learning rate.")
    tried = [trial(job, folder, rate, asked.steps) for rate in asked.learning_rates]
    good = [each for each in tried if each["eval_loss"] is not None]
    if not good:
        rates = ", ".join(f"{rate:g}" for rate in asked.learning_rates)
        raise DivergedError(f"Every learning rate of the sweep diverged ({rates})", job.run.name, "Try lower ones.")
    best = max(good, key=lambda each: (each["task_metric"] or 0.0, -each["eval_loss"]))
    job.say(f"learning rate {best['learning_rate']:g} was best of {len(tried)} after {asked.steps} steps")
    return {"chosen": best["learning_rate"], "trials": tried}


def trial(job: Job, folder: Path, rate: float, steps: int) -> dict[str, Any]:
    """One rate; a trial that is finished is not done again."""
    run = Trial(job.run.path / "sweep" / f"lr-{rate:g}", job.run)
    done = run.path / "trial.json"
    if done.exists():
        found: dict[str, Any] = read_json(done)
        return found
    run.path.mkdir(parents=True, exist_ok=True)
    spec = with_rate(job.spec, rate)
    spec = spec.model_copy(
        update={"train": spec.train.model_copy(update={"steps": steps, "select": "last", "patience": 0})}
    )
    model = to_train(folder, spec)
    result: dict[str, Any] = {"learning_rate": rate, "eval_loss": None, "task_metric": None, "seconds": None}
    try:
        metrics = train(
            model, run, spec, job.template, lambda n, of, unit: job.report(n, of, f"{unit} at {rate:g}"), job.stop,
            task_metric(job),
        )  # fmt: skip
        result |= {key: metrics[key] for key in ("eval_loss", "task_metric", "seconds")}
    except DivergedError as error:
        job.say(f"learning rate {rate:g} diverged: {error.what}")
    del model
    gc.collect()
    write_json(done, result)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return result


def with_rate(spec: RunSpec, rate: float) -> RunSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update={"learning_rate": rate})})
