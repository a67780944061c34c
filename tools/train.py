"""Training alone: on a data file, on a spec, or a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from executor.errors import UsageError, UserError
from executor.files import read_json, read_jsonl, sha256_rows
from executor.launch import refuse_running, train_along
from executor.place import Launcher, follows, launched, load_place, save_place
from executor.run_folder import RunFolder, create_run, find_run
from executor.spec import (
    STAGES,
    Curriculum,
    Method,
    TrackerName,
    load_spec,
)
from tools.base import Tool
from tools.jobs import JobResult, launch, placed
from tools.licence import LicenceArgs, Rights
from tools.planned import method_text, planned_text
from tools.planning import Planned, Wish, plan_job, rates_of
from tools.runs import start

TRAIN_RATIOS = (0.8, 0.1, 0.1)
Choice = Literal["auto"] | Method


def named(choice: Choice) -> Method | None:
    """The method that the user named; None: it is to be chosen."""
    return None if choice == "auto" else choice


class TrainArgs(LicenceArgs):
    data: str | None = None
    """a file with examples, or a spec.yaml"""
    resume: str | None = None
    """a run to go on with, instead of data"""
    base_model: str | None = None
    method: Choice = "auto"
    """how to train; auto is LoRA, or QLoRA where only that fits in memory"""
    sweep: str | None = None
    """learning rates to try on short trainings first, such as lr=1e-4,2e-4,5e-4"""
    curriculum: Curriculum = "none"
    """easy rows first: staged (a third, two thirds, all) or continuous (a growing share)"""
    processes: int | None = Field(default=None, ge=1)
    """processes that train together, a GPU or some CPU cores each; not given: 1, or as the resumed run had"""
    launcher: Launcher | None = None
    """who starts them: local (this host) or ray (its cluster)"""
    track: TrackerName | None = None
    """where the metrics are sent to as well; its package is an extra"""

    def only(self, **named: str) -> bool:
        """Whether nothing but `named` is given, and where to train."""
        return self == TrainArgs(**named, processes=self.processes, launcher=self.launcher)


def training_wish(args: TrainArgs, data: Path) -> Wish:
    return Wish(
        data=data, base_model=args.base_model, method=named(args.method), curriculum=args.curriculum,
        rates=rates_of(args.sweep) if args.sweep else (), tracker=args.track, rights=Rights.of(args),
    )  # fmt: skip


def is_spec(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def refuse_mixture(args: TrainArgs) -> None:
    """A run or a spec says everything but where to train. Raises UsageError where more, or nothing, is named."""
    if args.resume:
        if not args.only(resume=args.resume):
            raise UsageError("A run goes on with its own data, model and settings", "--resume", "Name only the run.")
    elif not args.data:
        raise UsageError("Nothing to train on", "finetune train", "Name a data file, a spec.yaml, or --resume RUN.")
    elif is_spec(Path(args.data)) and not args.only(data=args.data):
        raise UsageError("The spec names model, method and settings", args.data, "Change them in the spec itself.")


def plan_train(args: TrainArgs) -> str:
    refuse_mixture(args)
    if args.resume:
        run = find_run(args.resume)
        refuse_running(run)
        return f"Run `{run.name}`, which is {run.status()['state']}, goes on at its first unfinished stage."
    path = Path(args.data or "").expanduser()
    if is_spec(path):
        spec = load_spec(path)
        placed(spec, args.processes, args.launcher)
        return f"Trains again from {path.name}: {method_text(spec)}, {spec.train.steps} steps on {spec.data.path}."
    planned = plan_job("train", training_wish(args, path), TRAIN_RATIOS)
    placed(planned.spec, args.processes, args.launcher)
    return planned_text(planned)


def run_train(args: TrainArgs) -> JobResult:
    if follows():
        train_along()
    refuse_mixture(args)
    if args.resume:
        return resume(find_run(args.resume), args.processes, args.launcher)
    path = Path(args.data or "").expanduser()
    if is_spec(path):
        place = placed(load_spec(path), args.processes, args.launcher)
        run = from_spec(path)
        return launch(run, run.spec(), f"Training again from {path}.", place)
    planned = plan_job("train", training_wish(args, path), TRAIN_RATIOS)
    place = placed(planned.spec, args.processes, args.launcher)
    return launch(planned.create(), planned.spec, planned_text(planned), place)


def resume(run: RunFolder, processes: int | None = None, launcher: Launcher | None = None) -> JobResult:
    """Go on at the first unfinished stage, where it was or as asked for; a finished run is left as it is."""
    if launched() > 1 and run.summary("train") is not None:
        raise UserError("Its training is over", run.name, f"Run `finetune train --resume {run.name}` without torchrun.")
    if run.status()["state"] == "done":
        return JobResult(run=str(run.path), status="done", summary=f"Run `{run.name}` is already done.")
    resumed = f"Resumed run `{run.name}` at its first unfinished stage."
    save_place(placed(run.spec(), processes, launcher, load_place(run.path)), run.path)
    start(run)
    return JobResult(run=str(run.path), status="running", summary=resumed, estimate=run.spec().estimate)


def from_spec(path: Path) -> RunFolder:
    """A new training run with the spec's parameters on the spec's data: the copy beside the spec, or its source."""
    spec = load_spec(path)
    spec = spec.model_copy(update={"kind": "train", "stages": STAGES["train"]})
    beside = path.parent / "data"
    record_file = path.parent / "data.json"
    if record_file.exists() and (beside / "train.jsonl").exists():
        record = read_json(record_file)
        splits = {name: read_jsonl(beside / f"{name}.jsonl") for name in record["splits"]}
        changed = [name for name, rows in splits.items() if sha256_rows(rows) != record["splits"][name]["sha256"]]
        if changed:
            raise UserError(
                f"The {', '.join(changed)} rows changed since this spec was made", str(beside),
                "Train on the data file itself, so that the change is recorded.",
            )  # fmt: skip
        return create_run(spec, splits, record)
    wish = Wish(
        data=Path(spec.data.path),
        test=Path(spec.data.test) if spec.data.test else None,
        task=spec.data.task,
        mapping=spec.data.mapping,
        seed=spec.data.seed,
    )
    planned = plan_job("train", wish, TRAIN_RATIOS)
    if planned.spec.data.version != spec.data.version:
        raise UserError("The data changed since this spec was made", spec.data.path, "Make the plan again.")
    return Planned(planned.prepared, spec).create()


TRAIN = Tool(
    name="train",
    description="Train (LoRA, QLoRA, DoRA, full) on a data file or a spec, or resume a run. Returns at once.",
    args=TrainArgs, result=JobResult, run=run_train, asks_first=True, plan=plan_train,
    command=(
        "finetune train {data} --resume {resume} --base-model {base_model} --method {method} "
        "--sweep {sweep} --curriculum {curriculum} --processes {processes} --launcher {launcher} --track {track} "
        "--data-licence {data_licence} --teacher {teacher}"
    ),
)  # fmt: skip
