"""The README beside a configuration: how to run it, what is in it, and what of the plan is not."""

from __future__ import annotations

import shlex
from pathlib import Path

from executor.trainers.plan import HELD_OUT, Plan, TrainerName, Written, batches, keys, warmup
from executor.trainers.text import one_line


def readme(plan: Plan, trainer: TrainerName, written: Written) -> str:
    known, spec = keys().trainers[trainer], plan.spec
    source = one_line(Path(spec.data.path).name)
    train = spec.train
    micro, accumulated = batches(plan)
    what = "pairs of replies (DPO)" if plan.pairs else "conversations"
    lines = [
        f"# The plan of {source} for {known.title}",
        "",
        f"    {written.command}",
        "",
        f"Run it in this folder. `{written.config}` is the same training as `spec.yaml`, which "
        "`finetune train spec.yaml` runs. Its keys are "
        f"those of {known.title} {known.version}, read on {known.read_on} ({', '.join(known.sources)}).",
        "",
        f"- Rows: {len(plan.train)} {what} to train, {len(plan.validation)} to validate.",
        f"- Base: {one_line(plan.base)}",
        f"- Method: {train.method}, {train.objective}; learning rate {train.learning_rate:g}, {train.steps} steps of "
        f"{train.batch_size} rows ({micro} at once, {accumulated} times), {warmup(plan)} of them warm-up, cosine.",
        "",
        *measuring(plan, source),
        "## Other than in the plan, or without an equivalent there",
        "",
        *[f"- {one_line(remark)}" for remark in written.missing],
        "",
        "## Fields",
        "",
        "| plan | value | there |",
        "|---|---|---|",
        *fields(plan, trainer),
    ]
    return "\n".join(lines) + "\n"


def measuring(plan: Plan, source: str) -> list[str]:
    """How the result is measured on the rows that were held out of it; empty where there are none."""
    if not plan.test:
        return []
    return [
        "## The result",
        "",
        f"    {measure_command(plan, HELD_OUT)}",
        "",
        f"`{HELD_OUT}` holds {len(plan.test)} rows that are neither trained nor validated on; no configuration names "
        "them. Serve the result behind an OpenAI-compatible URL and measure it on these rows. "
        f"{other_split(source)}",
        "",
    ]


def measure_command(plan: Plan, file: str) -> str:
    """What measures the served result on the rows of `file`, beside the base that it was trained on."""
    model = plan.spec.model
    base = model.folder if model.source == "folder" else model.hub_id if model.source == "hub" else None
    beside = f" --base-model {shlex.quote(one_line(str(base)))}" if base else ""
    return f"finetune evaluate --endpoint URL --model NAME --data {shlex.quote(file)}{beside}"


def other_split(source: str) -> str:
    return f"`finetune go` and `compare` split {source} otherwise and would test on rows that this training saw."


def fields(plan: Plan, trainer: TrainerName) -> list[str]:
    """The fields that only have another name."""
    columns = (trainer,) if trainer == "axolotl" else (trainer, "transformers")
    found = []
    for field, names in keys().keys.items():
        name = next((names[column] for column in columns if column in names), None)
        if name in plan.renamed(*columns):
            found.append(f"| `{field}` | {plan.value(field)} | `{name}` |")
    return found
