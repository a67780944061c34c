"""The README beside a configuration: how to run it, what is in it, and what of the plan is not."""

from __future__ import annotations

from pathlib import Path

from executor.trainers.plan import Plan, TrainerName, Written, batches, keys, warmup
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
        f"- Rows: {len(plan.train)} {what} to train, {len(plan.validation)} to validate. The test rows are not here: "
        "the result is to be measured on rows that it never saw.",
        f"- Base: {one_line(plan.base)}",
        f"- Method: {train.method}, {train.objective}; learning rate {train.learning_rate:g}, {train.steps} steps of "
        f"{train.batch_size} rows ({micro} at once, {accumulated} times), {warmup(plan)} of them warm-up, cosine.",
        "",
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


def fields(plan: Plan, trainer: TrainerName) -> list[str]:
    """The fields that only have another name."""
    columns = (trainer,) if trainer == "axolotl" else (trainer, "transformers")
    found = []
    for field, names in keys().keys.items():
        name = next((names[column] for column in columns if column in names), None)
        if name in plan.renamed(*columns):
            found.append(f"| `{field}` | {plan.value(field)} | `{name}` |")
    return found
