"""The command line: every command validates, calls one tool, prints, and ends with the contract's exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from agent import cli_data, cli_hosted, cli_jobs, cli_serve
from agent.cli_jobs import call
from agent.output import emit, emit_result, fail
from agent.piped import piped
from agent.threads import leave
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
app.add_typer(cli_hosted.app, name="hosted")
app.add_typer(runs_app, name="runs")
for command in (*cli_jobs.COMMANDS, cli_serve.serve):
    app.command()(command)
app.command("try")(cli_serve.try_)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Newest = Annotated[str | None, typer.Argument(help="A run; the newest if not given.")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve what would ask first.")]


@app.callback()
def chat(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="offline, or PROVIDER:NAME")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Endpoint of the provider.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable with that endpoint's key.")] = None,
    name: Annotated[str | None, typer.Option("--chat", help="A kept chat to continue.")] = None,
) -> None:
    """Open the chat."""
    if context.invoked_subcommand is None:
        from agent.settings import load_settings
        from agent.tui.app import run_chat

        raise typer.Exit(run_chat(load_settings(model, base_url, key_env), name))
    given = {"--model": model, "--base-url": base_url, "--key-env": key_env, "--chat": name}
    if early := [option for option, value in given.items() if value is not None]:
        command = context.invoked_subcommand
        raise UsageError(f"{early[0]} before {command} counts for nothing", "finetune", f"Write it after {command}.")


def with_piped(text: str) -> str:
    """The question, and under it what was piped in, as quoted material."""
    material = piped().replace("`" * 3, "'" * 3).strip()
    fence = "`" * 3
    return f"{text}\n\n{fence}\n{material}\n{fence}" if material else text


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help='The question, or "-" to read it from stdin.')],
    data: Annotated[str | None, typer.Option(help="A data file the question is about.")] = None,
    chat: Annotated[str | None, typer.Option("--chat", help="A kept chat to continue.")] = None,
    model: Annotated[str | None, typer.Option(help="offline, or PROVIDER:NAME")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="Endpoint of the provider.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable with that endpoint's key.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """One question, one answer, through the same agent as the chat."""
    import asyncio

    from agent.ask import ask_once, render
    from agent.settings import load_settings

    if data is not None and not Path(data).expanduser().exists():
        raise UserError(f"There is no file {data}", data, "Check the path.")
    settings = load_settings(model, base_url, key_env)
    words = sys.stdin.buffer.read().decode("utf-8", "replace") if text == "-" else with_piped(text)
    if not words.strip():
        raise UsageError("The question is empty", "finetune ask", 'Write it in quotes: finetune ask "Should I ...?"')
    turn = asyncio.run(ask_once(words, data, chat, settings.model, settings.base_url, yes, **settings.link))
    emit(turn.as_json(), json, lambda: render(turn))


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


@app.command()
def mcp() -> None:
    """The tools as an MCP server on stdio, for any MCP client."""
    from agent.mcp_server import serve

    serve()


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


@runs_app.command()
def diff(context: typer.Context, run: str, other: str, json: Json = False) -> None:
    """Two runs: what was set otherwise, and what it gave."""
    raise typer.Exit(emit_result(call("runs", action="diff", run=run, other=other), json or context.obj))


@runs_app.command("note")
def note_(context: typer.Context, run: str, text: str, json: Json = False) -> None:
    """Keep what worked and what did not; it is shown when the same data is planned again."""
    raise typer.Exit(emit_result(call("runs", action="note", run=run, text=text), json or context.obj))


def main() -> None:
    """The console script: errors become one line (or one JSON object) and an exit code, never a traceback."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False, prog_name="finetune")
        if code == Interrupted.exit_code:  # what typer makes of Ctrl-C, without a word
            raise KeyboardInterrupt
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
    leave(code if isinstance(code, int) else 0)
