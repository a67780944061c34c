"""The commands that start a run: they validate, call one tool, follow the run and print what it found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent import cli_data
from agent.output import emit, emit_result, note
from tools.base import Interrupted, UsageError, UserError

RENAMED = {"map": "mapping", "form": "answer_format", "slice": "slices"}
"""options whose arguments have another name"""
METHODS = ("auto", "lora", "qlora", "dora", "full")
TRAINERS = ("trl", "axolotl", "llamafactory", "unsloth")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve what would ask first.")]
Sweep = Annotated[str | None, typer.Option(help="Learning rates to try first, such as lr=1e-4,2e-4,5e-4.")]
CurriculumOption = Annotated[str, typer.Option("--curriculum", help="Easy rows first: staged or continuous.")]
Processes = Annotated[int | None, typer.Option(help="Processes that train together, a GPU or CPU cores each.")]
Track = Annotated[str | None, typer.Option(help="trackio, mlflow, wandb or tensorboard: metrics go there too.")]
TestRows = Annotated[str | None, typer.Option("--test", help="A file with the test rows.")]
PromptFile = Annotated[str | None, typer.Option("--prompt", help="A file with your own system prompt, measured too.")]
Documents = Annotated[str | None, typer.Option(help="A file or folder of texts to look things up in: measures rag.")]
Map = Annotated[list[str] | None, typer.Option("--map", help="ROLE=COLUMN, for tables")]
Target = Annotated[float | None, typer.Option(help="The accuracy you need, 0 to 1.")]
MetricOption = Annotated[str | None, typer.Option("--metric", help="What is right: exact, numeric, json, chrf ...")]
FormOption = Annotated[str | None, typer.Option("--format", help="A JSON schema file, or a pattern of answers.")]
SliceOption = Annotated[list[str] | None, typer.Option("--slice", help="A column: scores are told for each value.")]
Cluster = Annotated[str | None, typer.Option(help="The column that names a row's source, such as a customer.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint", help="Base URL of an OpenAI-compatible server.")]
EndpointModel = Annotated[str | None, typer.Option("--model", help="The endpoint's model.")]
KeyEnv = Annotated[str | None, typer.Option(help="The environment variable with the endpoint's key, or none.")]
JudgeKeyEnv = Annotated[str | None, typer.Option(help="The environment variable with the judge's key, or none.")]
Calls = Annotated[int | None, typer.Option("--calls-per-month", help="Tells after how many calls a tune pays.")]
Task = Annotated[str | None, typer.Option(help="The task in your words.")]
Budget = Annotated[str | None, typer.Option(help="Time for the training, such as 10m.")]
Judge = Annotated[str | None, typer.Option(help="Base URL of a model that compares answers: advice only.")]
JudgeModel = Annotated[str | None, typer.Option("--judge-model", help="The judge's model.")]
DropOverlap = Annotated[bool, typer.Option("--drop-overlap", help="Leave out rows that the test asks too.")]
Curve = Annotated[bool, typer.Option("--learning-curve", help="Would more rows help? Trains on parts too.")]
Harness = Annotated[list[str] | None, typer.Option(help="A task of lm-evaluation-harness: was it forgotten?")]
DataLicence = Annotated[str | None, typer.Option("--data-licence", help="Of the rows, such as cc-by-4.0.")]
Teacher = Annotated[str | None, typer.Option(help="The model that wrote the answers, where one did.")]
BaseModel = Annotated[str | None, typer.Option("--base-model", help="Catalogue name, folder or hub id.")]


def call(name: str, **args: Any) -> Any:
    """The result of a tool; invalid arguments are wrong usage."""
    from tools import TOOLS

    tool = next(tool for tool in TOOLS if tool.name == name)
    return tool.call(**args)


def start(tool: str, options: dict[str, Any]) -> None:
    """Start the tool with a command's options and follow it; asks first where rows would leave this machine."""
    for server in ("endpoint", "judge"):
        may_send(options.get(server), options["yes"])
    args = {RENAMED.get(name, name): value for name, value in options.items() if name not in ("yes", "json")}
    if "mapping" in args:
        args["mapping"] = cli_data.mapping(args["mapping"]) or None
    for several in ("slices", "harness"):
        if several in args:
            args[several] = tuple(args[several] or ())
    if args.get("systems"):
        args["systems"] = tuple(name.strip() for name in args["systems"].split(",") if name.strip())
    finish_job(call(tool, **args), options["json"])


def may_send(endpoint: str | None, yes: bool) -> None:
    """Rows go to a server elsewhere, and money is spent, only where the user says so. Raises UserError where not."""
    from tools.judging import host_elsewhere

    host = host_elsewhere(endpoint)
    if not host or yes:
        return
    if not sys.stdin.isatty():
        what = f"This sends the test rows to {host}, which may charge for it"
        raise UserError(what, "--endpoint", "Add --yes to agree.")
    if not typer.confirm(f"Send the test rows to {host}? What it charges is yours to pay.", err=True):
        raise Interrupted("Not sent", host, "Nothing was started.")


def finish_job(started: Any, as_json: bool, good: str = "") -> None:
    """Follow a launched run to its end and print the result."""
    from agent.follow import follow
    from tools.runs import exit_code, result_text

    if not as_json:
        note(started.summary)
    result = follow(started.run, Path(started.run).name)
    emit(result, as_json, lambda: result_text(result))
    raise typer.Exit(0 if good == "always" else exit_code(result))


def demo(json: Json = False) -> None:
    """The whole job on the bundled example with the embedded model."""
    from tools.example import example_table

    started = call("go", data=str(example_table()), mapping={"user": "message", "assistant": "queue"})
    finish_job(started, json, good="always")


def go(
    data: Annotated[str, typer.Argument(help="The file with the examples.")],
    test: TestRows = None,
    prompt: PromptFile = None,
    documents: Documents = None,
    task: Task = None,
    map: Map = None,  # noqa: A002
    base_model: BaseModel = None,
    budget: Budget = None,
    target: Target = None,
    metric: MetricOption = None,
    form: FormOption = None,
    slice: SliceOption = None,  # noqa: A002
    cluster: Cluster = None,
    endpoint: EndpointOption = None,
    model: EndpointModel = None,
    key_env: KeyEnv = None,
    calls_per_month: Calls = None,
    drop_overlap: DropOverlap = False,
    learning_curve: Curve = False,
    harness: Harness = None,
    judge: Judge = None,
    judge_model: JudgeModel = None,
    judge_key_env: JudgeKeyEnv = None,
    data_licence: DataLicence = None,
    teacher: Teacher = None,
    processes: Processes = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """The whole job: check, split, baselines, decision, training, evaluation, report."""
    start("go", locals())


def compare(
    data: Annotated[str, typer.Argument(help="The file with the examples.")],
    systems: Annotated[str | None, typer.Option(help="zero_shot, prompt, few_shot, rag, fine_tuned")] = None,
    test: TestRows = None,
    prompt: PromptFile = None,
    documents: Documents = None,
    task: Task = None,
    map: Map = None,  # noqa: A002
    base_model: BaseModel = None,
    budget: Budget = None,
    target: Target = None,
    metric: MetricOption = None,
    form: FormOption = None,
    slice: SliceOption = None,  # noqa: A002
    cluster: Cluster = None,
    endpoint: EndpointOption = None,
    model: EndpointModel = None,
    key_env: KeyEnv = None,
    calls_per_month: Calls = None,
    drop_overlap: DropOverlap = False,
    learning_curve: Curve = False,
    harness: Harness = None,
    judge: Judge = None,
    judge_model: JudgeModel = None,
    judge_key_env: JudgeKeyEnv = None,
    data_licence: DataLicence = None,
    teacher: Teacher = None,
    processes: Processes = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """The same sealed test rows through each approach, cheapest first, until the question is settled."""
    start("compare", locals())


def plan(
    data: str,
    base_model: BaseModel = None,
    method: Annotated[str, typer.Option(help="auto, lora, qlora, dora or full")] = "auto",
    to: Annotated[str | None, typer.Option(help="trl, axolotl, llamafactory or unsloth: its configuration.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to write; with --to, a folder.")] = None,
    task: Task = None,
    map: Map = None,  # noqa: A002
    sweep: Sweep = None,
    curriculum: CurriculumOption = "none",
    track: Track = None,
    data_licence: DataLicence = None,
    teacher: Teacher = None,
    measure: Annotated[bool, typer.Option(help="Measure a few steps here, where no run told yet.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Every training parameter with its reason; memory and time before spending."""
    known_method(method)
    if to is not None and to not in TRAINERS:
        raise UsageError(f'Unknown trainer "{to}"', "--to", f"Choose one of {', '.join(TRAINERS)}.")
    more = {
        "data": data,
        "base_model": base_model,
        "method": method,
        "sweep": sweep,
        "curriculum": curriculum,
        "track": track,
        "data_licence": data_licence,
        "teacher": teacher,
        "task": task,
        "mapping": cli_data.mapping(map) or None,
    }
    folder = f"{Path(data).stem or 'plan'}-{to}" if to else None
    written = str(out) if out else folder
    made = call("plan", **more, to=to, out=written, overwrite=yes)
    if measure and not to and made.measurable and not made.measured and measured_steps(more):
        made = call("plan", **more, out=written, overwrite=True)
    raise typer.Exit(emit_result(made, json))


def measured_steps(planned: dict[str, Any]) -> bool:
    """Run a probe of this plan; where it fails the plan stays an estimate, and why is said. Whether it was measured."""
    from agent.follow import follow

    started = call("probe", **planned)
    note("Measuring a few training steps on this machine (--no-measure leaves it out) ...")
    try:
        follow(started.run, Path(started.run).name)
    except UserError as error:
        note(f"Not measured: {error.line()}")
        return False
    return True


def train(
    data: Annotated[str | None, typer.Argument(help="A data file, or a spec.yaml.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run.")] = None,
    base_model: BaseModel = None,
    method: Annotated[str, typer.Option(help="auto, lora, qlora, dora or full")] = "auto",
    sweep: Sweep = None,
    curriculum: CurriculumOption = "none",
    track: Track = None,
    data_licence: DataLicence = None,
    teacher: Teacher = None,
    processes: Processes = None,
    launcher: Annotated[str | None, typer.Option(help="Who starts them: local or ray.")] = None,
    detach: Annotated[bool, typer.Option(help="Return once the run has started.")] = False,
    json: Json = False,
) -> None:
    """Train in a process of its own; waits for the end unless --detach."""
    known_method(method)
    more = {"sweep": sweep, "curriculum": curriculum, "track": track, "processes": processes, "launcher": launcher}
    more |= {"data_licence": data_licence, "teacher": teacher}
    started = call("train", data=data, resume=resume, base_model=base_model, method=method, **more)
    if detach:
        value = {"run": started.run, "status": started.status, "metrics": None}
        emit(value, json, started.text)
        raise typer.Exit(0)
    finish_job(started, json)


def known_method(method: str) -> None:
    if method not in METHODS:
        raise UsageError(f'Unknown method "{method}"', "--method", f"Choose one of {', '.join(METHODS)}.")


def export(
    run: Annotated[str, typer.Argument(help="The tuned run.")],
    to: Annotated[str, typer.Option("--to", help="merged, gguf, ollama, vllm or hub")],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to write.")],
    quant: Annotated[
        str, typer.Option(help="Of a GGUF file: bf16, f16, q8_0, q4_0; q4_k_m and its like with llama-quantize.")
    ] = "bf16",
    repo: Annotated[str | None, typer.Option(help="hub: where to push, OWNER/NAME.")] = None,
    public: Annotated[bool, typer.Option("--public", help="hub: visible for everyone.")] = False,
    form: Annotated[str | None, typer.Option(help="hub: adapter (the usual) or merged.")] = None,
    hub_url: Annotated[str | None, typer.Option(help="hub: another one than HF_ENDPOINT's.")] = None,
    token_env: Annotated[str | None, typer.Option(help="hub: the variable with that other hub's token.")] = None,
    licence_checked: Annotated[
        str | None, typer.Option(help="hub: why it may go though its licences do not say so.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to push, and to replace a folder.")] = False,
    json: Json = False,
) -> None:
    """Deliver a tuned model in another form, and prove that it still answers the same."""
    args = {"run": run, "to": to, "out": out, "quant": quant, "repo": repo, "public": public, "form": form}
    args |= {"hub_url": hub_url, "token_env": token_env, "licence_checked": licence_checked, "overwrite": yes}
    if to == "hub":
        may_push(args, yes)
    finish_job(call("export", **args), json)


def may_push(args: dict[str, Any], yes: bool) -> None:
    """A model leaves this machine only where the user says so. Raises UserError where not, Interrupted on a no."""
    from tools.export import ExportArgs, plan_export
    from tools.hub import where_to

    wish = ExportArgs.model_validate(args)
    words = plan_export(wish)  # what is wrong is told before anybody is asked
    if yes:
        return
    where = where_to(wish)
    if not sys.stdin.isatty():
        raise UserError(f"This pushes to {where}", "--to hub", "Add --yes to agree.")
    typer.echo(words, err=True)
    if not typer.confirm(f"Push to {where}?", err=True):
        raise Interrupted("Not pushed", str(args["repo"]), "Nothing was started.")


def evaluate(
    data: Annotated[str, typer.Option(help="The file with the test rows.")],
    run: Annotated[str | None, typer.Argument(help="The tuned run; or name an endpoint instead.")] = None,
    endpoint: EndpointOption = None,
    model: EndpointModel = None,
    key_env: KeyEnv = None,
    against: Annotated[str | None, typer.Option(help="base, or a run; its own baselines if not given.")] = None,
    since: Annotated[str | None, typer.Option(help="last, first or a run: did its answers drift? For cron.")] = None,
    base_model: BaseModel = None,
    target: Target = None,
    harness: Harness = None,
    drop_overlap: Annotated[bool, typer.Option("--drop-overlap", help="Leave out rows it was trained on.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """A tuned run, or a model on a server, against its base or another run on the same rows."""
    start("evaluate", locals())


COMMANDS = (demo, go, compare, plan, train, evaluate, export)
