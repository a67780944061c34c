"""A tuned run, or a model on a server, measured on the rows of a file against what it is to replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data.planted import refuse_planted
from executor.data.prepare import alone, rows_to_test
from executor.data.rows import answer
from executor.errors import UsageError, UserError
from executor.evaluate.metrics import choose as choose_metric
from executor.files import read_json, sha256_rows, write_json
from executor.run_folder import RunFolder, create_run, find_run
from executor.spec import STAGES, DataSpec, EndpointSpec, EvaluateSpec, RunKind, RunSpec, System, TrainSpec
from knowledge.load import number
from tools.base import Args, Tool
from tools.base_model import resolve_model
from tools.jobs import JobResult, launch
from tools.judging import endpoint_of, harness_of
from tools.planned import leaving
from tools.watch import earlier_run, found_earlier, known_rows, rows_asked, since_spec

BASE = "base"
Parts = dict[str, list[Any]]


class EvaluateArgs(Args):
    run: str | None = None
    """the run whose adapter is evaluated; or an endpoint with its model instead"""
    data: str
    """path of the file with the test rows"""
    endpoint: str | None = None
    """base URL of an OpenAI-compatible server"""
    model: str | None = None
    """the endpoint's model"""
    key_env: str | None = None
    """name of the environment variable with the endpoint's key (never the key itself); none if it asks for none"""
    against: str | None = None
    """what it is held against: base, or a tuned run; a run's own baselines if not given"""
    since: str | None = None
    """watch a model in use: hold its answers against those of an earlier run on the same rows (its name, or last or
    first for the newest or oldest evaluation of the same model); tells whether it dropped, and no verdict"""
    base_model: str | None = None
    """against base: which one; the embedded model if not given"""
    harness: tuple[str, ...] = ()
    """of a run: tasks of lm-evaluation-harness (names, or paths of YAML files) to see what was forgotten"""
    target: float | None = Field(default=None, gt=0, le=1)
    """the task accuracy that is needed, 0 to 1"""
    drop_overlap: bool = False
    """leave out test rows that the run was trained on; such rows are refused otherwise"""


def plan_evaluate(args: EvaluateArgs) -> str:
    file = Path(args.data).expanduser()
    if not file.is_file():
        raise UserError(f"There is no file {file.name}", str(file), "Check the path.")
    endpoint = endpoint_of(args.endpoint, args.model, args.key_env) if args.endpoint else None
    name = endpoint.name if endpoint else find_run(args.run or "").name
    asked = EvaluateSpec(endpoints=(endpoint,) if endpoint else (), harness=harness_of(args.harness))
    but = " but those it was trained on" if args.drop_overlap else ""
    return "\n\n".join([f"Asks {name} every row of {file.name}{but}; nothing is trained.", *leaving(asked)])


def run_evaluate(args: EvaluateArgs) -> JobResult:
    if (args.run is None) == (args.endpoint is None):
        fix = "finetune evaluate RUN --data FILE, or --endpoint URL --model NAME --data FILE."
        raise UsageError("Name a run or an endpoint, one of them", "finetune evaluate", fix)
    if args.since:
        return watched(args)
    if args.drop_overlap and args.run is None and args.against in (None, BASE):
        fix = "Leave it out, or name the run: --against RUN."
        raise UsageError("Of a model on a server it is not known what it was trained on", "--drop-overlap", fix)
    if args.run is None:
        return of_endpoint(args) if args.against in (None, BASE) else of_endpoint_against(args, find_run(args.against))
    return of_run(args, find_run(args.run))


def of_run(args: EvaluateArgs, trained: RunFolder) -> JobResult:
    """Base and tuned on the rows of a file, under the system message that the run was trained with."""
    rival = find_run(args.against) if args.against not in (None, BASE) else None
    other = tuned_folder(rival) if rival else None
    spec = trained.spec()
    if rival and rival.spec().model != spec.model:
        what = f"{rival.name} was trained on {rival.spec().model.name}, {trained.name} on {spec.model.name}"
        raise UserError(what, "--against", "Compare runs of one base model; others with `finetune runs diff`.")
    changes: dict[str, Any] = {"adapter": str(tuned_folder(trained)), "against": str(other) if other else None}
    changes["harness"] = harness_of(args.harness)
    if args.target is not None:
        changes["target"] = args.target
    if args.against == BASE:
        changes["systems"] = ("zero_shot",)
    run, rows = run_on(args, trained, spec.model_copy(update={"kind": "evaluate"}), changes)
    beside = f" against {Path(other).parent.name}" if other else ""
    words = f"Evaluating {trained.name}{beside} on {rows} rows of {Path(args.data).name}."
    return launch(run, run.spec(), words)


def of_endpoint_against(args: EvaluateArgs, trained: RunFolder) -> JobResult:
    """A model on a server against a tuned run, under the run's system message."""
    endpoint = endpoint_of(args.endpoint, args.model, args.key_env)
    changes: dict[str, Any] = {
        "adapter": str(tuned_folder(trained)), "systems": ("fine_tuned",), "endpoints": (endpoint,), "suites": (),
        "target": args.target,
    }  # fmt: skip
    run, rows = run_on(args, trained, trained.spec().model_copy(update={"kind": "endpoint"}), changes)
    words = f"Evaluating {endpoint.name} against {trained.name} on {rows} rows of {Path(args.data).name}."
    return launch(run, run.spec(), words)


def of_endpoint(args: EvaluateArgs) -> JobResult:
    """A model on a server against a base model here, on a file of test rows alone.

    What is right, and in which form, is then told by the answers of the test rows themselves.
    """
    endpoint = endpoint_of(args.endpoint, args.model, args.key_env)
    spec, parts, record = on_its_own(args, endpoint, "endpoint", ("zero_shot",))
    run = create_run(spec, parts, record)
    words = (
        f"Evaluating {endpoint.name} against {spec.model.name} on {len(parts['test'])} rows of {Path(args.data).name}."
    )
    return launch(run, spec, words)


def watched(args: EvaluateArgs) -> JobResult:
    """A model in use on the rows that it was measured with, held against the answers that it gave then."""
    if args.against or args.harness:
        raise UsageError("--since compares with earlier answers alone", "--since", "Leave out --against and --harness.")
    endpoint = endpoint_of(args.endpoint, args.model, args.key_env) if args.endpoint else None
    before = earlier_run(args.since or "")
    trained = find_run(args.run) if args.run else before if before and before.rows("train") else None
    tuned = tuned_folder(trained) if trained and not endpoint else None
    if trained:
        changes: dict[str, Any] = {
            "systems": () if endpoint else ("fine_tuned",), "endpoints": (endpoint,) if endpoint else (), "suites": (),
            "adapter": str(tuned) if tuned else None, "against": None, "since": None, "since_system": None,
        }  # fmt: skip
        spec, parts, record, known = laid_out(
            args, trained, trained.spec().model_copy(update={"kind": "watch"}), changes
        )
    else:
        known = []
        spec, parts, record = on_its_own(args, endpoint_of(args.endpoint, args.model, args.key_env), "watch", ())
    asked = rows_asked(parts["test"])
    before = before or found_earlier(args.since or "", endpoint, tuned, asked)
    if before and not trained and not args.base_model:  # its tokenizer measures how long an answer may be
        spec = spec.model_copy(update={"model": before.spec().model})
    spec = since_spec(spec, before, endpoint, asked)
    if trained and not (before and asked <= known_rows(before, spec.evaluate.since_system or "")):
        refuse_trained(args, known, len(parts["test"]), trained)  # rows that it was always watched with are told of
    run = create_run(spec, parts, record)
    name = endpoint.name if endpoint else trained.name if trained else ""
    beside = f", beside {before.name}" if before else "; nothing earlier is there to compare with"
    return launch(run, spec, f"Asking {name} {len(parts['test'])} rows of {Path(args.data).name}{beside}.")


def on_its_own(
    args: EvaluateArgs, endpoint: EndpointSpec, kind: RunKind, systems: tuple[System, ...]
) -> tuple[RunSpec, Parts, dict[str, Any]]:
    """Spec, rows and record of a file of test rows alone."""
    path = Path(args.data).expanduser()
    rows, task, source = alone(path)
    metric, _ = choose_metric(task.kind, [answer(row) for row in rows])
    sealed = sha256_rows(rows)
    spec = RunSpec(
        kind=kind,
        stages=STAGES[kind],
        model=resolve_model(args.base_model),
        data=DataSpec(
            path=str(path.absolute()), test=str(path.absolute()), version=sealed, kind=task.kind, labels=task.labels
        ),
        train=TrainSpec(steps=1),
        evaluate=EvaluateSpec(
            systems=systems, endpoints=(endpoint,), metric=metric, suites=(), target=args.target,
            min_useful_gain=number("gates", "min_useful_gain"),
        ),
    )  # fmt: skip
    record = {"version": sealed, "splits": {"test": {"rows": len(rows), "sha256": sealed}}, "source": source}
    return spec, {"test": rows}, {**record, "task": task.model_dump(mode="json"), "lineage": []}


def tuned_folder(run: RunFolder) -> Path:
    """What the run's training left. Raises UserError where it is not finished."""
    tuned = run.model if run.spec().train.method == "full" else run.adapter
    if not tuned.is_dir():
        fix = f"Finish the training: `finetune train --resume {run.name}`."
        raise UserError(f"{run.name} has no adapter", str(run.path), fix)
    return tuned


def laid_out(
    args: EvaluateArgs, trained: RunFolder, spec: RunSpec, changes: dict[str, Any]
) -> tuple[RunSpec, Parts, dict[str, Any], list[int]]:
    """Spec, rows and record of a run on the rows of the file, with the trained run's rows beside them.

    And the lines of the file that the trained run was trained on.
    """
    train_rows = trained.rows("train")
    columns = (*spec.data.slices, *((spec.data.cluster,) if spec.data.cluster else ()))
    path = Path(args.data).expanduser()
    rows, known = rows_to_test(path, train_rows, spec.data.mapping, columns, args.drop_overlap)
    evaluate = spec.evaluate.model_copy(update={"endpoints": (), "judge": None, "harness": ()} | changes)
    record = read_json(trained.path / "data.json")
    parts = {"train": train_rows, "validation": trained.rows("validation"), "documents": trained.rows("documents")}
    parts = {name: part for name, part in parts.items() if part} | {"test": rows}
    record["splits"] = {name: {"rows": len(part), "sha256": sha256_rows(part)} for name, part in parts.items()}
    record["version"] = sha256_rows([row for name, part in parts.items() if name != "documents" for row in part])
    test = str(path.absolute())
    record["test_source"] = {"path": test}
    named = {"test": test, "version": record["version"], "drop_overlap": args.drop_overlap}
    data = spec.data.model_copy(update=named)
    spec = spec.model_copy(update={"stages": STAGES[spec.kind], "evaluate": evaluate, "data": data, "estimate": None})
    return spec, parts, record, known


def refuse_trained(args: EvaluateArgs, lines: list[int], tested: int, trained: RunFolder) -> None:
    path = Path(args.data).expanduser()
    refuse_planted(lines, tested, f"{path.name} ask what {trained.name} was trained on", path, "test without them")


def run_on(args: EvaluateArgs, trained: RunFolder, spec: RunSpec, changes: dict[str, Any]) -> tuple[RunFolder, int]:
    """A new run on the rows of the file with the trained run's rows beside them; and how many rows it tests."""
    spec, parts, record, known = laid_out(args, trained, spec, changes)
    refuse_trained(args, known, len(parts["test"]), trained)
    run = create_run(spec, parts, record)
    for system in spec.evaluate.systems:  # set up as it was then
        if trained.choice(system).exists():
            write_json(run.choice(system), read_json(trained.choice(system)))
    return run, len(parts["test"])


EVALUATE = Tool(
    name="evaluate",
    description=(
        "Measure a trained run against its base model or another run, or a model on a server against either, on the "
        "rows of a file; or, with `since`, whether a model in use drifted. Starts a run, returns at once."
    ),
    args=EvaluateArgs, result=JobResult, run=run_evaluate, asks_first=True, plan=plan_evaluate,
    command=(
        "finetune evaluate {run} --data {data} --endpoint {endpoint} --model {model} --key-env {key_env} "
        "--against {against} --since {since} --base-model {base_model} --target {target} --harness {harness} "
        "--drop-overlap {drop_overlap}"
    ),
)  # fmt: skip
