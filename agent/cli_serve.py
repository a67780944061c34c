"""Serving a tuned model, and trying it beside its base."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agent.cli_jobs import Json, call
from agent.output import emit, emit_result

PORT = 8000


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_GGUF", help="A tuned run, a GGUF file, a model folder.")],
    host: Annotated[str, typer.Option(help="Where to listen; anything but this machine needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = PORT,
    key: Annotated[str | None, typer.Option(help="What clients must send; better by FINETUNE_SERVE_KEY.")] = None,
    json: Json = False,
) -> None:
    """An OpenAI-compatible server for a tuned model (and `base` beside it); Ctrl-C ends it."""
    from tools.serving import serve as start

    sys.stderr.write("Loading the model ...\n")
    serving = start(run, host, port, key)
    try:
        emit({"url": serving.url}, json, lambda: f"Listening at {serving.url}\n\nCtrl-C ends it.")
        code = serving.wait()
    except KeyboardInterrupt:  # how a server is meant to end
        code = 0
    finally:
        serving.close()
    raise typer.Exit(4 if code else 0)


def try_(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_GGUF", help="A tuned run, a GGUF file, a model folder.")],
    text: Annotated[str, typer.Argument(help="What to ask.")],
    json: Json = False,
) -> None:
    """Ask a tuned model and its base the same question."""
    raise typer.Exit(emit_result(call("try_model", run=run, text=text), json))
