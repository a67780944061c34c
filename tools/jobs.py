"""The jobs that a run process does: the whole way (`go`), training alone, comparison, evaluation of a tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from executor.errors import UsageError
from executor.place import Launcher, Place, check_place, launched, save_place
from executor.run_folder import RunFolder
from executor.spec import (
    EndpointSpec,
    MetricName,
    RunKind,
    RunSpec,
    System,
)
from tools.base import Result, Tool
from tools.judging import endpoint_of, form_of, harness_of
from tools.licence import LicenceArgs, Rights
from tools.planned import leaving, planned_text, power_text
from tools.planning import Measure, Planned, Wish, plan_job
from tools.runs import start

SYSTEMS: tuple[System, ...] = get_args(System)
JOB_OPTIONS = (
    "--test {test} --prompt {prompt} --documents {documents} --map {mapping} --base-model {base_model} --task {task} "
    "--budget {budget} --target {target} --metric {metric} --format {answer_format} --slice {slices} "
    "--cluster {cluster} --endpoint {endpoint} --model {model} --key-env {key_env} --judge {judge} "
    "--judge-model {judge_model} --judge-key-env {judge_key_env} "
    "--calls-per-month {calls_per_month} --drop-overlap {drop_overlap} --learning-curve {learning_curve} "
    "--harness {harness} --processes {processes} --data-licence {data_licence} --teacher {teacher}"
)
"""every argument but the data: whoever approves a call sees all of it"""


class JobResult(Result):
    """A launched run; the front end follows it."""

    run: str
    """absolute path of the run folder"""
    status: str
    summary: str
    estimate: dict[str, Any] | None = None

    def text(self) -> str:
        return self.summary


class DataArgs(LicenceArgs):
    data: str
    """path of the file with the examples"""
    base_model: str | None = None
    """a name of the catalogue, a folder, or a hub id; the embedded model if not given"""
    task: str | None = None
    """the task in the user's words"""
    mapping: dict[str, str] | None = None
    """for tables: {"user": COLUMN, "assistant": COLUMN}"""


class GoArgs(DataArgs):
    test: str | None = None
    """path of a file with the test rows"""
    prompt: str | None = None
    """path of a file with the user's own system prompt, measured too"""
    documents: str | None = None
    """path of a file or folder of texts to look things up in; makes retrieval one of the systems"""
    metric: MetricName | None = None
    """what a right answer is; chosen from the training answers if not given"""
    answer_format: str | None = None
    """path of a JSON schema that answers must fulfil, or a regular expression that they match as a whole"""
    slices: tuple[str, ...] = ()
    """columns whose values set rows apart (source, edge case): scores are told for each value"""
    cluster: str | None = None
    """the column that names a row's source: rows of one source are not independent, and stay on one side"""
    endpoint: str | None = None
    """base URL of an OpenAI-compatible server whose model answers the same rows; needs model"""
    model: str | None = None
    """the endpoint's model"""
    key_env: str | None = None
    """name of the environment variable with the endpoint's key (never the key itself); none if it asks for none"""
    budget: str | None = None
    """time for the training, such as 10m"""
    target: float | None = Field(default=None, gt=0, le=1)
    """the task accuracy that is needed, 0 to 1"""
    judge: str | None = None
    """base URL of a server whose model compares tuned and untuned answers (advice only); needs judge_model"""
    judge_model: str | None = None
    """the judge's model"""
    judge_key_env: str | None = None
    """name of the environment variable with the judge's key"""
    calls_per_month: int | None = Field(default=None, ge=1)
    """how often the model would be asked: tells after how many calls a tune pays"""
    drop_overlap: bool = False
    """leave out training rows that the test asks too, however many they are"""
    harness: tuple[str, ...] = ()
    """tasks of lm-evaluation-harness (names, or paths of YAML files) to see what was forgotten; downloads their data"""
    learning_curve: bool = False
    """train on a quarter and on half of the rows as well, to tell whether more rows would help"""
    processes: int | None = Field(default=None, ge=1)
    """processes that train together, a GPU or some CPU cores each; 1 if not given"""


def wish_of(args: GoArgs, systems: tuple[System, ...] | None = None) -> Wish:
    return Wish(
        data=Path(args.data).expanduser(),
        test=Path(args.test).expanduser() if args.test else None,
        task=args.task,
        prompt=Path(args.prompt).expanduser() if args.prompt else None,
        base_model=args.base_model,
        budget=args.budget,
        target=args.target,
        mapping=args.mapping,
        documents=Path(args.documents).expanduser() if args.documents else None,
        systems=systems,
        drop_overlap=args.drop_overlap,
        curve=args.learning_curve,
        calls=args.calls_per_month,
        harness=harness_of(args.harness),
        rights=Rights.of(args),
        measure=Measure(
            metric=args.metric,
            form=form_of(args.answer_format) if args.answer_format else None,
            slices=args.slices,
            cluster=args.cluster,
            endpoints=(endpoint_of(args.endpoint, args.model, args.key_env),) if args.endpoint or args.model else (),
            judge=judge_of(args),
        ),
    )


def judge_of(args: GoArgs) -> EndpointSpec | None:
    if not args.judge and not args.judge_model:
        return None
    return endpoint_of(args.judge, args.judge_model, args.judge_key_env)


def plan_go(args: GoArgs) -> str:
    planned = plan_job("go", wish_of(args))
    placed(planned.spec, args.processes)
    return planned_text(planned)


def run_go(args: GoArgs) -> JobResult:
    if launched() > 1:
        raise UsageError("Only the command train joins torchrun", "go", "Use --processes, or torchrun with train.")
    planned = plan_job("go", wish_of(args))
    place = placed(planned.spec, args.processes)
    return launch(planned.create(), planned.spec, planned_text(planned), place)


def placed(
    spec: RunSpec, processes: int | None, launcher: Launcher | None = None, before: Place | None = None
) -> Place:
    """Where to train: as asked for, else as `before`. Raises UserError where it cannot be."""
    if launched() > 1:
        if processes or launcher:
            raise UsageError("torchrun says how many processes train", "--processes", "Leave it out.")
        check_place(Place(processes=launched()), spec.train)
        return Place()
    asked = {"processes": processes, "launcher": launcher}
    place = (before or Place()).model_copy(update={key: value for key, value in asked.items() if value is not None})
    check_place(place, spec.train)
    return place


def launch(run: RunFolder, spec: RunSpec, summary: str, place: Place | None = None) -> JobResult:
    if place:
        save_place(place, run.path)
    start(run)
    text = f"Started run `{run.name}`.\n\n{summary}"
    return JobResult(run=str(run.path), status="running", summary=text, estimate=spec.estimate)


class CompareArgs(GoArgs):
    systems: tuple[System, ...] | None = None
    """what to measure; with fine_tuned it is the whole job. None named: cheapest first, until one settles it"""


def planned_comparison(args: CompareArgs) -> tuple[Planned, str]:
    """The systems on the same sealed rows, planned and in words; `fine_tuned` among them makes it the whole job."""
    asked = tuple(s for s in SYSTEMS if args.systems is None or s in args.systems)
    kind: RunKind = "go" if args.systems and "fine_tuned" in asked else "compare"
    baselines = tuple(s for s in asked if s != "fine_tuned")
    if not baselines:
        raise UsageError("Nothing to compare with", "--systems", "Name zero_shot, prompt, few_shot or rag too.")
    planned = plan_job(kind, wish_of(args, baselines if args.systems else None))
    words = f"Measuring {', '.join(asked if args.systems else baselines)} on the same sealed test rows.\n\n"
    told = [planned_text(planned)] if kind == "go" else [*leaving(planned.spec.evaluate), power_text(planned)]
    return planned, words + "\n\n".join(told)


def plan_compare(args: CompareArgs) -> str:
    planned, words = planned_comparison(args)
    placed(planned.spec, args.processes)
    return words


def run_compare(args: CompareArgs) -> JobResult:
    planned, words = planned_comparison(args)
    return launch(planned.create(), planned.spec, words, placed(planned.spec, args.processes))


GO = Tool(
    name="go",
    description=(
        "Do the whole job on a data file: measure prompting and few-shot on a sealed test set, decide, train a LoRA "
        "if it can pay, evaluate, report. Starts a run and returns at once. Call when the user wants to train."
    ),
    args=GoArgs, result=JobResult, run=run_go, asks_first=True, plan=plan_go,
    command=f"finetune go {{data}} {JOB_OPTIONS}",
)  # fmt: skip
COMPARE = Tool(
    name="compare",
    description="Measure prompting and few-shot on the same sealed rows, without training. Starts a run.",
    args=CompareArgs, result=JobResult, run=run_compare, asks_first=True, plan=plan_compare,
    command=f"finetune compare {{data}} --systems {{systems}} {JOB_OPTIONS}",
)  # fmt: skip
