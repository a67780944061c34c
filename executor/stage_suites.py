"""What the tuning cost elsewhere: bundled suites and ordinary prose, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from executor.evaluate import neutral, suites
from executor.evaluate.ask import ask
from executor.evaluate.regression import change
from executor.files import write_jsonl
from executor.job import Job

SUITE_TOKENS = 32


@contextmanager
def untuned(job: Job, model: Any) -> Iterator[Any]:
    """The base model beside the tuned one; where the adapter's base is the base itself, it is switched off instead."""
    if job.spec.train.method in ("lora", "dora"):
        with model.disable_adapter():
            yield model
    else:
        yield job.load_base()


def run_suites(job: Job, model: Any) -> dict[str, Any]:
    """`regression`: each suite and named task before and after the tuning; `neutral_loss`: the same for ordinary prose.

    The prompts carry no task instructions. Every answer is kept in `suites/NAME.jsonl`.
    """
    names, settings = job.spec.evaluate.suites, job.spec.train
    with untuned(job, model) as base:
        before = {name: suite_answers(job, base, name) for name in names}
        loss = neutral.losses(base, job.template, settings) if names else []
        old_tasks = harness_scores(job, base)
    after = {name: suite_answers(job, model, name) for name in names}
    found = {}
    for name in names:
        items, lines = suites.load(name).items, []
        for item, old, new in zip(items, before[name], after[name], strict=True):
            passed = {"passed_before": suites.passes(item, old), "passed": suites.passes(item, new)}
            lines.append({"prompt": item.prompt, "before": old, "after": new, **passed})
        write_jsonl(job.run.path / "suites" / f"{name}.jsonl", lines)
        was, now = ([float(bool(line[key])) for line in lines] for key in ("passed_before", "passed"))
        found[name] = change(was, now, job.spec.evaluate.regression_margin)
    for name, new_task in harness_scores(job, model).items():
        lines = [{"item": i, "passed_before": bool(was), "passed": bool(now)}
                 for i, (was, now) in enumerate(zip(old_tasks[name], new_task, strict=True))]  # fmt: skip
        write_jsonl(job.run.path / "suites" / f"{name}.jsonl", lines)
        found[name] = change(old_tasks[name], new_task, job.spec.evaluate.regression_margin)
    text = neutral.change(loss, neutral.losses(model, job.template, settings)) if names else None
    return {"regression": found, "neutral_loss": text}


def harness_scores(job: Job, model: Any) -> dict[str, list[float]]:
    """The tasks of lm-evaluation-harness that were named."""
    if not job.spec.evaluate.harness:
        return {}
    from executor.evaluate import harness  # an extra

    job.guard(0, 1, "lm-evaluation-harness")
    return harness.measure(model, job.base_folder, job.spec.evaluate.harness)


def suite_answers(job: Job, model: Any, name: str) -> list[str]:
    items = suites.load(name).items
    asked = [[{"role": "user", "content": item.prompt}] for item in items]
    return [reply.text for reply in ask(job, model, asked, name, limit=SUITE_TOKENS)]
