"""A plan in words: what will happen, how long it takes, and what speaks against it."""

from __future__ import annotations

from pathlib import Path

from executor.data import store
from executor.errors import UserError
from executor.evaluate.metrics import METRICS, metric_name
from executor.evaluate.power import DISCORDANT, detectable_difference, rows_needed
from executor.run_folder import all_runs
from executor.servers import host_elsewhere
from executor.spec import EvaluateSpec, RunSpec
from executor.text import printable
from tools.licence import licence_text
from tools.planning import Planned

ELSEWHERE = ("wandb",)
"""trackers whose server is not this machine, unless they were set up otherwise"""


def planned_text(planned: Planned) -> str:
    """What will happen, with the prediction."""
    spec, data = planned.spec, planned.prepared
    rows = f"{len(data.train)} training, {len(data.validation)} validation and {len(data.test)} sealed test rows"
    lines = [f"{rows} of {Path(spec.data.path).name}, base model {spec.model.name}."]
    train = spec.train
    lines.append(
        f"{method_text(spec)}, learning rate {train.learning_rate:g}, "
        f"{train.steps} steps of {train.batch_size} rows ({train.epochs:g} epochs)."
    )
    if spec.sweep:
        rates = ", ".join(f"{rate:g}" for rate in spec.sweep.learning_rates)
        lines.append(
            f"Before it, {len(spec.sweep.learning_rates)} trials of {spec.sweep.steps} steps each choose the learning "
            f"rate among {rates} on the validation rows; together they take about as long as the training."
        )
    away = leaving(spec.evaluate, spec.tracker)
    if spec.estimate:
        seconds, memory = spec.estimate["seconds"], spec.estimate["memory_bytes"]
        known = spec.estimate.get("basis") or ""
        basis = f"as run {known} measured" if measured_here(spec) else "estimated"
        lines.append(
            f"Training takes about {duration(seconds['expected'])} ({duration(seconds['low'])} to "
            f"{duration(seconds['high'])}) and {memory['expected'] / 2**30:.1f} GiB on {spec.estimate['device']} "
            f"({basis})"
            + ("." if leaving(spec.evaluate, spec.tracker) else "; it costs nothing but this machine's time.")
        )
    if "curve" in spec.stages:
        lines.append("The learning curve trains on a quarter and half of the rows as well: about 75 % more training.")
    lines += away
    if spec.kind == "go":
        lines.append(power_text(planned))
    if spec.licences:
        lines.append(licence_text(spec.licences))
    lines += noted(planned)
    if sealed := sealed_as_test(data.source["sha256"]):
        lines.append(
            f"**These rows are the sealed test part of version {sealed}.** A model that is trained on them cannot be "
            "measured with them; its verdict there will be `do_not_ship`."
        )
    return "\n\n".join(lines)


def leaving(asked: EvaluateSpec, tracker: str | None = None) -> list[str]:
    """What leaves this machine or is fetched for a run, and may cost money; nothing where all stays here."""
    lines = []
    for server in asked.endpoints:
        if host := host_elsewhere(server.url):
            lines.append(f"**The test rows are sent to {host}** ({server.model}), which may charge for it.")
    if asked.judge and (host := host_elsewhere(asked.judge.url)):
        lines.append(f"**Rows and answers are sent to {host}** ({asked.judge.model}, the judge), which may charge.")
    if asked.harness:
        lines.append(f"The tasks {', '.join(asked.harness)} of lm-evaluation-harness download their data.")
    if tracker in ELSEWHERE:
        lines.append(f"The metrics are sent to {tracker}.")
    return lines


def noted(planned: Planned) -> list[str]:
    """What was noted on runs of the same file or the same rows, newest first."""
    spec, found = planned.spec, []
    for run in all_runs():
        notes = run.notes()
        if not notes:
            continue
        try:
            data = run.spec().data
        except UserError:
            continue
        if data.version == spec.data.version or data.path == spec.data.path:
            found += [f"Noted on run `{run.name}`: {printable(note['text'])}" for note in notes]
    return found[:5]


def power_text(planned: Planned) -> str:
    """What this test set can show, before anything is spent; nothing for scores that can be partly right."""
    spec, rows = planned.spec, len(planned.prepared.test)
    if not METRICS[metric_name(spec.evaluate.metric, spec.data)].binary or not rows:
        return ""
    smallest, useful = detectable_difference(rows), spec.evaluate.min_useful_gain
    text = (
        f"With {rows} test rows a difference of {smallest:.0%} or more shows (4 times of 5, where two systems differ "
        f"on {DISCORDANT:.0%} of the rows); one of {useful:.0%} takes {rows_needed(useful)} rows."
    )
    return text if smallest > useful else text.split(";")[0] + "."


def measured_here(spec: RunSpec) -> bool:
    """Whether the prediction rests on steps measured on this machine."""
    known = (spec.estimate or {}).get("basis") or ""
    return any(f"-{kind}-" in known for kind in ("train", "go", "probe"))


def method_text(spec: RunSpec) -> str:
    told = f", DPO on pairs of replies (beta {spec.train.beta:g})" if spec.train.objective == "dpo" else ""
    return adapted(spec) + told


def adapted(spec: RunSpec) -> str:
    """What of the model is trained."""
    if spec.train.method == "full":
        return "Full training of every weight"
    name = {"lora": "LoRA", "qlora": "QLoRA (base in 4 bits)", "dora": "DoRA"}[spec.train.method]
    return f"{'rank-stabilised ' if spec.lora.rslora else ''}{name} r={spec.lora.r}, alpha={spec.lora.alpha}"


def sealed_as_test(sha256: str) -> str | None:
    """The version whose test part the training file is; a damaged record is for `data history` to report."""
    try:
        version = store.sealed_test(sha256)
    except UserError:
        return None
    return version.id if version else None


def duration(seconds: float) -> str:
    """About how long: seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
