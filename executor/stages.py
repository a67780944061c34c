"""The stages of a run. Each reads the folder and what earlier stages left, and returns its summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from executor.data.rows import trained_conversations
from executor.encode import encode, marked, proof
from executor.evaluate import harness
from executor.evaluate.metrics import METRICS, metric_name
from executor.evaluate.verdict import after_training
from executor.files import write_json
from executor.hardware import environment
from executor.job import Job
from executor.prepare_model import prepare_model
from executor.spec import Stage
from executor.stage_curve import curve
from executor.stage_drift import drift
from executor.stage_evaluate import baselines, decide_stage, evaluate, judge
from executor.stage_export import export
from executor.stage_train import probe, train_stage
from executor.template import ChatTemplate
from executor.train.objective import OBJECTIVES


def prepare(job: Job) -> dict[str, Any]:
    """The base model, the rows as they were sealed, and those to be trained fit for it: before anything is measured."""
    write_json(job.run.path / "env.json", environment())
    job.run.check_seal()
    if job.spec.evaluate.harness:
        harness.check(job.spec.evaluate.harness)
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


TOLD = ("costs", "choices", "slices", "left_out", "neutral_loss", "learning_curve", "judged", "watched")
"""what stages found beyond the contract's keys"""


def report_stage(job: Job) -> dict[str, Any]:
    """summary.json (what the report draws), the two reports, and what the command answers."""
    from executor.report import write_report

    result, metric = result_of(job), metric_name(job.spec.evaluate.metric, job.spec.data)
    found: dict[str, Any] = {
        "estimate": job.spec.estimate,
        "metric": METRICS[metric].says,
        "form": job.scorer.form.says,
    }
    found |= {"human_style": job.scorer.style.human}
    write_json(job.run.path / "summary.json", result | found)
    markdown, html = write_report(job.run.path)
    return result | {"report": str(html), "report_md": str(markdown)}


def result_of(job: Job) -> dict[str, Any]:
    """Everything the finished stages found, under the contract's names."""
    found: dict[str, Any] = {}
    for stage in ("baselines", "train", "evaluate", "judge", "curve", "drift"):
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
        "comparisons": found.get("comparisons"),
        "regression": found.get("regression"),
        "verdict": found.get("verdict"),
        "verdict_reasons": found.get("verdict_reasons"),
        "metrics": found.get("metrics"),
        "drift": found.get("drift"),
        **{key: found[key] for key in TOLD if key in found},
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
    "curve": curve,
    "judge": judge,
    "drift": drift,
    "export": export,
    "report": report_stage,
}


def run_stages(job: Job, started: Callable[[Stage], None]) -> dict[str, Any]:
    """Run what is not done yet, in order; a measured decision not to train skips training and its evaluation."""
    torch.set_num_threads(job.spec.train.threads)
    for stage in job.spec.stages:
        decided = job.run.summary("decide")
        skip = decided is not None and not decided["tune"] and stage in ("train", "evaluate", "curve")
        if not skip and job.run.summary(stage) is None:
            started(stage)
            job.run.finish(stage, RUNNERS[stage](job))
        if stage == "prepare_model":
            job.base_folder = Path((job.run.summary(stage) or {})["folder"])
    return job.run.summary("report") or result_of(job)
