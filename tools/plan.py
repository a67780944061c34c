"""The plan of a training: every parameter with its reason, and a few steps measured where they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executor.encode import marked
from executor.errors import UsageError, UserError
from executor.model_cache import prepared_folder
from executor.spec import Curriculum, TrackerName, save_spec
from executor.trainers import TrainerName
from tools.base import Result, Tool
from tools.jobs import DataArgs, JobResult, launch
from tools.licence import Rights
from tools.plan_to import write_for, written_text
from tools.planned import measured_here, planned_text
from tools.planning import Wish, mask_of, plan_job, rates_of
from tools.train import TRAIN_RATIOS, Choice, named


class PlanArgs(DataArgs):
    out: str | None = None
    """where to write the spec; with `to`, the folder to write"""
    to: TrainerName | None = None
    """write it as the configuration of another trainer, with the rows it trains; needs out"""
    overwrite: bool = False
    """replace an existing file"""
    method: Choice = "auto"
    """how to train; auto is LoRA, or QLoRA where only that fits in memory"""
    sweep: str | None = None
    """learning rates to try on short trainings first, such as lr=1e-4,2e-4,5e-4"""
    curriculum: Curriculum = "none"
    """easy rows first: staged (a third, two thirds, all) or continuous (a growing share)"""
    track: TrackerName | None = None
    """where the metrics of the training are sent to as well; its package is an extra"""

    def wish(self) -> Wish:
        rates = rates_of(self.sweep) if self.sweep else ()
        return Wish(
            Path(self.data).expanduser(), base_model=self.base_model, task=self.task, mapping=self.mapping,
            method=named(self.method), curriculum=self.curriculum, rates=rates,
            tracker=self.track, rights=Rights.of(self),
        )  # fmt: skip


class PlanResult(Result):
    spec: dict[str, Any]
    measured: bool
    """whether the prediction rests on steps measured on this machine"""
    measurable: bool
    """whether it could: the base model is on this disk"""
    estimate: dict[str, Any] | None
    reasons: dict[str, Any]
    summary: str
    mask: dict[str, Any] | None
    """what the loss would see: counts, faults, and the first examples in pieces"""
    written: dict[str, Any] | None = None
    """with `to`: trainer, folder, config, files, command, what of the plan is missing there; and the rows held out
    of it, with the command that measures the result on them"""

    def text(self) -> str:
        why = [f"- `{field}`: {reason['reason']} [{reason['source']}]" for field, reason in self.reasons.items()]
        shown = f"\n\n```\n{marked(self.mask)}\n```" if self.mask else ""
        handed = written_text(self.written) + "\n\n" if self.written else ""
        return handed + self.summary + "\n\n" + "\n".join(why) + shown


def run_plan(args: PlanArgs) -> PlanResult:
    out = Path(args.out).expanduser() if args.out and not args.to else None
    if out and out.exists() and not args.overwrite:
        raise UserError(f"{out.name} exists", str(out), "Choose another name, or allow to replace it (--yes).")
    if args.to and not args.out:
        raise UsageError("The configuration needs a folder", "--out", "Name the folder to write to.")
    planned = plan_job("train", args.wish(), TRAIN_RATIOS)
    if out:
        save_spec(planned.spec, out)
    written = write_for(planned, args.to, args.out, args.overwrite) if args.to and args.out else None
    spec = planned.spec.model_dump(mode="json")
    reasons = {k: v.model_dump() for k, v in planned.spec.reasons.items()}
    ready = (prepared_folder(planned.spec.model) / "tokenizer.json").exists()
    return PlanResult(
        spec=spec, estimate=planned.spec.estimate, reasons=reasons, summary=planned_text(planned),
        measured=measured_here(planned.spec), measurable=ready, mask=mask_of(planned),
        written=written,
    )  # fmt: skip


def run_probe(args: PlanArgs) -> JobResult:
    """The first steps of the planned training, so that its prediction is measured."""
    planned = plan_job("probe", args.wish(), TRAIN_RATIOS)
    return launch(planned.create(), planned.spec, "Measuring a few training steps on this machine.")


PLAN_COMMAND = (
    "finetune plan {data} --base-model {base_model} --method {method} --to {to} --out {out} --sweep {sweep} "
    "--curriculum {curriculum} --track {track} --task {task} --map {mapping} --data-licence {data_licence} "
    "--teacher {teacher} --yes {overwrite}"
)
PROBE = Tool(
    name="probe",
    description="Measure a few steps of a planned training on this machine; a plan made after it rests on them.",
    args=PlanArgs, result=JobResult, run=run_probe, asks_first=True,
    command=PLAN_COMMAND,
)  # fmt: skip
PLAN = Tool(
    name="plan",
    description=(
        "Every training parameter for a data file with its reason and source, and time and memory in advance. With "
        "`to` it writes the same training as a configuration of TRL, Axolotl, LLaMA-Factory or Unsloth."
    ),
    args=PlanArgs, result=PlanResult, run=run_plan,
    command=PLAN_COMMAND,
)  # fmt: skip
