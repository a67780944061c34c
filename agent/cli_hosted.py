"""`finetune hosted ...`: fine-tuning jobs at a provider."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from agent.output import emit_result, note
from tools.base import Interrupted, UsageError

app = typer.Typer(no_args_is_help=True, help="Fine-tuning jobs at OpenAI or Together: price first, one job an order.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree without being asked.")]
Data = Annotated[str, typer.Argument(help="JSON lines with the training rows.")]
ProviderOption = Annotated[str, typer.Option("--provider", help="openai or together")]
AnyProvider = Annotated[str | None, typer.Option("--provider", help="openai or together; of a job from elsewhere.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Another server with the provider's API.")]
KeyEnv = Annotated[str | None, typer.Option("--key-env", help="The variable with that server's key, or none.")]
Model = Annotated[str | None, typer.Option(help="The provider's name of the base model.")]
Validation = Annotated[str | None, typer.Option(help="Rows to validate with.")]
Epochs = Annotated[int | None, typer.Option("--n-epochs", help="Passes over the data; 3 if not given.")]
Batch = Annotated[int | None, typer.Option("--batch-size", help="The provider's choice if not given.")]
Multiplier = Annotated[float | None, typer.Option("--learning-rate-multiplier", help="openai: of its own rate.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="together")]
Seed = Annotated[int | None, typer.Option(help="For a job that can be repeated.")]
Suffix = Annotated[str | None, typer.Option(help="Words in the tuned model's name.")]
Job = Annotated[str | None, typer.Argument(help="The job; the newest of this workspace if not given.")]

LONGEST_WAIT = 86_400
"""seconds between two looks"""


def known(provider: str) -> Any:
    from tools.hosted_order import NAMES

    if provider not in NAMES:
        choice = " or ".join(NAMES)
        raise UsageError(f'Unknown provider "{provider}"', "--provider", f"Choose {choice}.")
    return provider


def agreed(plan: str, question: str, yes: bool) -> None:
    """The plan is shown, and goes on only where the person agrees. Raises UsageError where nobody can be asked."""
    note(plan)
    if yes:
        return
    if not sys.stdin.isatty():
        head = plan.partition("\n")[0].replace("**", "")
        raise UsageError(f"Nobody can be asked here. {head}", "--yes", "Read the plan; add --yes to agree.")
    if not typer.confirm(question, err=True):
        raise Interrupted("Not agreed to", "", "Nothing was sent or changed.")


@app.command("estimate")
def estimate(
    data: Data,
    provider: ProviderOption,
    model: Model = None,
    validation: Validation = None,
    n_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate_multiplier: Multiplier = None,
    learning_rate: Rate = None,
    seed: Seed = None,
    suffix: Suffix = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    json: Json = False,
) -> None:
    """Tokens and price with their range, source and date; the data checked. Asks nobody."""
    args = {key: value for key, value in locals().items() if key != "json"}
    from tools.hosted import run_estimate
    from tools.hosted_order import EstimateArgs

    known(provider)
    raise typer.Exit(emit_result(run_estimate(EstimateArgs(**args)), json))


@app.command("submit")
def submit(
    data: Data,
    provider: ProviderOption,
    model: Model = None,
    validation: Validation = None,
    n_epochs: Epochs = None,
    batch_size: Batch = None,
    learning_rate_multiplier: Multiplier = None,
    learning_rate: Rate = None,
    seed: Seed = None,
    suffix: Suffix = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    again: Annotated[bool, typer.Option("--again", help="A second job, though an equal one is there.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Upload and start one job; run again after a crash, it finds the job instead of making another."""
    args = {key: value for key, value in locals().items() if key not in ("json", "yes")}
    from tools.hosted import SubmitArgs, already, order_of, plan_of, send

    known(provider)
    wish = SubmitArgs(**args)
    found = order_of(wish)
    there = already(wish, found)
    if there is None:
        agreed(plan_of(found), "Send the data and start the job?", yes)
        there = send(found, again)
    raise typer.Exit(emit_result(there, json))


@contextmanager
def leaving(job: str) -> Iterator[None]:
    """Ctrl-C leaves the job alone and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        fix = f"Go on with `finetune hosted watch {job}`; end it with `finetune hosted cancel {job}`."
        raise Interrupted("No longer watched; the job goes on", job, fix) from None


@app.command("watch")
def watch(
    job: Job = None,
    provider: AnyProvider = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 15.0,
    once: Annotated[bool, typer.Option("--once", help="How it stands now, without waiting.")] = False,
    json: Json = False,
) -> None:
    """Events, curve and checkpoints until the end; then the model, and the command that measures it."""
    from tools.hosted import follow, stands, way_to

    if not 0 <= every <= LONGEST_WAIT:  # also where it is no number
        raise UsageError(f"--every is {every:g} seconds", "--every", f"Give 0 to {LONGEST_WAIT} seconds.")
    there, name, entry = way_to(job, known(provider) if provider else None, base_url, key_env)
    with leaving(name):
        if once:
            result = stands(there, name, entry)
        else:
            result = follow(there, name, entry, every, lambda event: note(event.line()))
    raise typer.Exit(emit_result(result, json))


@app.command("cancel")
def cancel(
    job: Annotated[str, typer.Argument(help="The job.")],
    provider: AnyProvider = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """End a job for good."""
    from tools.hosted import CancelArgs, plan_cancel, run_cancel

    args = CancelArgs(
        job=job, provider=known(provider) if provider else None, base_url=base_url, key_env=key_env
    )  # fmt: skip
    agreed(plan_cancel(args), f"End {job}?", yes)
    raise typer.Exit(emit_result(run_cancel(args), json))


@app.command("list")
def list_jobs(
    provider: AnyProvider = None, base_url: BaseUrl = None, key_env: KeyEnv = None, json: Json = False
) -> None:
    """The jobs of this workspace and, of a named provider, those that its server knows."""
    from tools.hosted import NoArgs, listed_at, run_list

    if provider is None:
        raise typer.Exit(emit_result(run_list(NoArgs()), json))
    raise typer.Exit(emit_result(listed_at(known(provider), base_url, key_env), json))
