"""The command line: every command validates, calls one tool, prints, and ends with the contract's exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from agent import cli_data
from agent.output import emit, emit_result, fail
from tools.base import FinetuneError, Interrupted, UsageError, UserError

app = typer.Typer(
    name="finetune",
    help="Should you fine-tune? Measures the answer, and does the work when it is yes.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(invoke_without_command=True, help="What was tried and what it gave.")
app.add_typer(cli_data.app, name="data")
app.add_typer(runs_app, name="runs")

METHODS = ("auto", "lora", "qlora", "dora", "full")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Newest = Annotated[str | None, typer.Argument(help="A run; the newest if not given.")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve what would ask first.")]
Sweep = Annotated[str | None, typer.Option(help="Learning rates to try first, such as lr=1e-4,2e-4,5e-4.")]
CurriculumOption = Annotated[str, typer.Option("--curriculum", help="Easy rows first: staged or continuous.")]
Processes = Annotated[int | None, typer.Option(help="Processes that train together, a GPU or CPU cores each.")]
Track = Annotated[str | None, typer.Option(help="trackio, mlflow, wandb or tensorboard: metrics go there too.")]
BaseModel = Annotated[str | None, typer.Option("--base-model", help="Catalogue name, folder or hub id.")]


def call(name: str, **args: Any) -> Any:
    """The result of a tool; invalid arguments are wrong usage."""
    from tools import TOOLS

    tool = next(tool for tool in TOOLS if tool.name == name)
    return tool.call(**args)


def finish_job(started: Any, as_json: bool, good: str = "") -> None:
    """Follow a launched run to its end and print the result."""
    from agent.follow import follow, note
    from tools.runs import exit_code, result_text

    if not as_json:
        note(started.summary)
    result = follow(started.run, Path(started.run).name)
    emit(result, as_json, lambda: result_text(result))
    raise typer.Exit(0 if good == "always" else exit_code(result))


@app.callback()
def chat(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="offline, or PROVIDER:NAME")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Endpoint of the provider.")] = None,
    name: Annotated[str | None, typer.Option("--chat", help="A kept chat to continue.")] = None,
) -> None:
    """Open the chat."""
    if context.invoked_subcommand is None:
        from agent.settings import load_settings
        from agent.tui.app import run_chat

        run_chat(load_settings(model, base_url), name)


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help='The question, or "-" to read it from stdin.')],
    data: Annotated[str | None, typer.Option(help="A data file the question is about.")] = None,
    chat: Annotated[str | None, typer.Option("--chat", help="A kept chat to continue.")] = None,
    model: Annotated[str | None, typer.Option(help="offline, or PROVIDER:NAME")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Endpoint of the provider.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """One question, one answer, through the same agent as the chat."""
    import asyncio

    from agent.ask import ask_once, render
    from agent.settings import load_settings

    if data is not None and not Path(data).expanduser().exists():
        raise UserError(f"There is no file {data}", data, "Check the path.")
    settings = load_settings(model, base_url)
    words = sys.stdin.buffer.read().decode("utf-8", "replace") if text == "-" else text
    if not words.strip():
        raise UsageError("The question is empty", "finetune ask", 'Write it in quotes: finetune ask "Should I ...?"')
    turn = asyncio.run(ask_once(words, data, chat, settings.model, settings.base_url, yes))
    emit(turn.as_json(), json, lambda: render(turn))


@app.command()
def demo(json: Json = False) -> None:
    """The whole job on the bundled example with the embedded model."""
    from tools.example import example_table

    started = call("go", data=str(example_table()), mapping={"user": "message", "assistant": "queue"})
    finish_job(started, json, good="always")


@app.command()
def go(
    data: Annotated[str, typer.Argument(help="The file with the examples.")],
    test: Annotated[str | None, typer.Option(help="A file with the test rows.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A file with your own system prompt, measured too.")] = None,
    task: Annotated[str | None, typer.Option(help="The task in your words.")] = None,
    map: Annotated[list[str] | None, typer.Option("--map", help="ROLE=COLUMN, for tables")] = None,  # noqa: A002
    base_model: BaseModel = None,
    budget: Annotated[str | None, typer.Option(help="Time for the training, such as 10m.")] = None,
    target: Annotated[float | None, typer.Option(help="The accuracy you need, 0 to 1.")] = None,
    processes: Processes = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """The whole job: check, split, baselines, decision, training, evaluation, report."""
    more: dict[str, Any] = {
        "test": test,
        "prompt": prompt,
        "task": task,
        "base_model": base_model,
        "budget": budget,
        "target": target,
    }
    more |= {"processes": processes, "mapping": cli_data.mapping(map) or None}
    finish_job(call("go", data=data, **more), json)


@app.command()
def compare(
    data: Annotated[str, typer.Argument(help="The file with the examples.")],
    systems: Annotated[str, typer.Option(help="zero_shot, prompt, few_shot, fine_tuned")] = "zero_shot,few_shot",
    test: Annotated[str | None, typer.Option(help="A file with the test rows.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A file with your own system prompt.")] = None,
    map: Annotated[list[str] | None, typer.Option("--map", help="ROLE=COLUMN, for tables")] = None,  # noqa: A002
    base_model: BaseModel = None,
    json: Json = False,
) -> None:
    """The same sealed test rows through each approach."""
    names = tuple(name.strip() for name in systems.split(",") if name.strip())
    more = {"test": test, "prompt": prompt, "base_model": base_model, "mapping": cli_data.mapping(map) or None}
    finish_job(call("compare", data=data, systems=names, **more), json)


@app.command()
def plan(
    data: str,
    base_model: BaseModel = None,
    method: Annotated[str, typer.Option(help="auto, lora, qlora, dora or full")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Where to write the spec.")] = None,
    sweep: Sweep = None,
    curriculum: CurriculumOption = "none",
    track: Track = None,
    measure: Annotated[bool, typer.Option(help="Measure a few steps here, where no run told yet.")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Every training parameter with its reason; memory and time before spending."""
    known_method(method)
    more = {
        "data": data,
        "base_model": base_model,
        "method": method,
        "sweep": sweep,
        "curriculum": curriculum,
        "track": track,
    }
    written = str(out) if out else None
    made = call("plan", **more, out=written, overwrite=yes)
    if measure and made.measurable and not made.measured and measured_steps(more):
        made = call("plan", **more, out=written, overwrite=True)
    raise typer.Exit(emit_result(made, json))


def measured_steps(planned: dict[str, Any]) -> bool:
    """Run a probe of this plan; where it fails the plan stays an estimate, and why is said. Whether it was measured."""
    from agent.follow import follow, note

    started = call("probe", **planned)
    note("Measuring a few training steps on this machine (--no-measure leaves it out) ...")
    try:
        follow(started.run, Path(started.run).name)
    except UserError as error:
        note(f"Not measured: {error.line()}")
        return False
    return True


@app.command()
def train(
    data: Annotated[str | None, typer.Argument(help="A data file, or a spec.yaml.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run.")] = None,
    base_model: BaseModel = None,
    method: Annotated[str, typer.Option(help="auto, lora, qlora, dora or full")] = "auto",
    sweep: Sweep = None,
    curriculum: CurriculumOption = "none",
    track: Track = None,
    processes: Processes = None,
    launcher: Annotated[str | None, typer.Option(help="Who starts them: local or ray.")] = None,
    detach: Annotated[bool, typer.Option(help="Return once the run has started.")] = False,
    json: Json = False,
) -> None:
    """Train in a process of its own; waits for the end unless --detach."""
    known_method(method)
    more = {"sweep": sweep, "curriculum": curriculum, "track": track, "processes": processes, "launcher": launcher}
    started = call("train", data=data, resume=resume, base_model=base_model, method=method, **more)
    if detach:
        value = {"run": started.run, "status": started.status, "metrics": None}
        emit(value, json, started.text)
        raise typer.Exit(0)
    finish_job(started, json)


def known_method(method: str) -> None:
    if method not in METHODS:
        raise UsageError(f'Unknown method "{method}"', "--method", f"Choose one of {', '.join(METHODS)}.")


@app.command()
def evaluate(
    run: str,
    data: Annotated[str, typer.Option(help="The file with the test rows.")],
    target: Annotated[float | None, typer.Option(help="The accuracy you need, 0 to 1.")] = None,
    json: Json = False,
) -> None:
    """A trained run against its base model on the same rows."""
    finish_job(call("evaluate", run=run, data=data, target=target), json)


@app.command()
def models(
    task: Annotated[str, typer.Option(help="What the model is for.")] = "",
    memory: Annotated[str | None, typer.Option(help="Memory of the GPU, such as 24GB.")] = None,
    licence: Annotated[str | None, typer.Option(help="permissive")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens that a prompt with its answer may need.")] = None,
    json: Json = False,
) -> None:
    """Base models, ranked."""
    found = call("recommend_models", task=task, memory=memory, licence=licence, context=context)
    raise typer.Exit(emit_result(found, json))


@app.command()
def doctor(
    symptom: Annotated[str, typer.Argument(help='A run, a log file, words, or "-" for stdin.')], json: Json = False
) -> None:
    """Why a training went wrong."""
    words = sys.stdin.buffer.read().decode("utf-8", "replace") if symptom == "-" else symptom
    raise typer.Exit(emit_result(call("diagnose", symptom=words), json))


@app.command()
def facts(
    stale: Annotated[bool, typer.Option("--stale", help="Only those past their expiry.")] = False, json: Json = False
) -> None:
    """Dated facts, their source and when they expire."""
    raise typer.Exit(emit_result(call("facts", stale=stale), json))


@runs_app.callback()
def runs(context: typer.Context, json: Json = False) -> None:
    """List the runs of this workspace."""
    context.obj = json  # `runs --json show` means the same as `runs show --json`
    if context.invoked_subcommand is None:
        raise typer.Exit(emit_result(call("runs", action="list"), json))


@runs_app.command()
def show(context: typer.Context, run: Newest = None, json: Json = False) -> None:
    """One run: its state, curves and result."""
    raise typer.Exit(emit_result(call("runs", action="show", run=run), json or context.obj))


@runs_app.command()
def stop(context: typer.Context, run: Newest = None, json: Json = False) -> None:
    """Ask a run to save and stop."""
    raise typer.Exit(emit_result(call("runs", action="stop", run=run), json or context.obj))


def main() -> None:
    """The console script: errors become one line (or one JSON object) and an exit code, never a traceback."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False, prog_name="finetune")
    except FinetuneError as error:
        code = fail(error, as_json)
    except ValidationError as error:
        fault = error.errors()[0]
        option = ".".join(str(step) for step in fault["loc"])
        code = fail(UsageError(f"{option}: {fault['msg']}", "the command line", "See --help."), as_json)
    except typer.TyperException as error:
        code = fail(UsageError(str(error) or "Incomplete command", "the command line", "See --help."), as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = fail(Interrupted("Interrupted", "", "What was not finished was not written."), as_json)
    except BrokenPipeError:
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
