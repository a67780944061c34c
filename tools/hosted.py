"""Hosted fine-tuning: what it would cost, one job for one order, how it stands, and the command that judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from executor.errors import FinetuneError, ServiceError, UserError
from executor.hosted import ledger, submit, watch
from executor.hosted.provider import OVER, HostedEvent, HostedJob, Provider
from executor.hosted.registry import PROVIDERS, ProviderName, connect
from executor.text import code_span
from tools.base import Args, Tool
from tools.hosted_order import EstimateArgs, Ordered, ordered
from tools.hosted_report import HostedResult, next_step, report, state

SETTINGS = (
    "--model {model} --validation {validation} --n-epochs {n_epochs} --batch-size {batch_size} "
    "--learning-rate-multiplier {learning_rate_multiplier} --learning-rate {learning_rate} --seed {seed} "
    "--suffix {suffix} --base-url {base_url} --key-env {key_env}"
)
"""every argument of a job but its data and provider: whoever approves a call sees all of it"""
LISTED = 50


class SubmitArgs(EstimateArgs):
    again: bool = False
    """a second job though an equal one runs or has succeeded"""


class JobArgs(Args):
    job: str | None = None
    """the job's id; the newest of this workspace if not given"""


class CancelArgs(Args):
    job: str
    """the job's id"""
    provider: ProviderName | None = None
    """if the job was not submitted from this workspace"""
    base_url: str | None = None
    key_env: str | None = None
    """name of the environment variable with that server's key; none if it asks for none"""


class NoArgs(Args):
    pass


def run_estimate(args: EstimateArgs, today: date | None = None) -> HostedResult:
    """Reads the files and asks nobody."""
    found = ordered(args, today or date.today())
    return HostedResult(estimate=found.estimate, warnings=found.warnings, summary=found.text())


def order_of(args: SubmitArgs, today: date | None = None) -> Ordered:
    """Checked and priced; nothing is sent. `today` is the calendar's if not given. Raises UserError, UsageError."""
    return ordered(args, today or date.today())


def plan_submit(args: SubmitArgs, today: date | None = None) -> str:
    return plan_of(order_of(args, today))


def plan_of(found: Ordered) -> str:
    """What a person reads before approving, with what became of equal jobs before."""
    notes = [
        f"**Note:** An equal job, `{entry.job}`, was submitted before and {'was cancelled' if over else 'failed'}; "
        "this makes and pays for another."
        for entry in submit.ended(found.order)
        for over in [entry.status == "cancelled"]
    ]
    return "\n\n".join([found.text(), *notes])


def run_submit(args: SubmitArgs, today: date | None = None) -> HostedResult:
    """The job of this order, found or made. Raises UserError, ServiceError."""
    return send(order_of(args, today), args.again)


def send(found: Ordered, again: bool) -> HostedResult:
    """As `run_submit`, of an order that was approved."""
    return submitted(found, submit.place(provider_of(found), found.order, again))


def already(args: SubmitArgs, found: Ordered) -> HostedResult | None:
    """The job of this order where this workspace knows it: then nothing is spent and nobody need be asked."""
    if ledger.begun(found.order, 1).state == "planned":
        return None
    placed = submit.known(provider_of(found), found.order, args.again)
    return submitted(found, placed) if placed else None


def provider_of(found: Ordered) -> Provider:
    return connect(found.order.provider, found.order.url, found.order.key_env or "none")


def submitted(found: Ordered, placed: submit.Placed) -> HostedResult:
    job, provider = placed.job, found.order.provider
    head = "Submitted" if placed.created else "An equal job is there already; nothing was uploaded or created:"
    told = f"{head} `{job.id}` at {PROVIDERS[provider].title}, {state(job.status)}."
    again = "" if placed.created else " Another one on purpose: --again."
    lines = [f"{told}{again}", *(f"**Note:** {warning}" for warning in found.warnings), next_step(job)]
    return HostedResult(
        job=job.model_dump(),
        estimate=found.estimate,
        status=job.status,
        created=placed.created,
        model=job.fine_tuned_model,
        warnings=found.warnings,
        summary="\n\n".join(filter(None, lines)),
    )


def way_to(
    job: str | None, provider: ProviderName | None, base_url: str | None, key_env: str | None
) -> tuple[Provider, str, ledger.Entry | None]:
    """The provider of a job and its id: as this workspace knows it, else as named. Raises UserError, UsageError."""
    known = ledger.entries()
    entry = ledger.of_job(job) if job else next((each for each in known if each.job and fits(each, provider)), None)
    if entry is None and (job is None or provider is None):
        what = f"This workspace knows no job {job}" if job else "No hosted job was submitted from this workspace"
        raise UserError(what, str(ledger.folder()), "Name the job and its --provider, as `finetune hosted list` does.")
    if entry and provider not in (None, entry.order.provider):
        title = PROVIDERS[entry.order.provider].title
        raise UserError(f"The job {entry.job} is at {title}", "--provider", f"Use --provider {entry.order.provider}.")
    if entry and base_url is None and key_env is None:
        order = entry.order
        return connect(order.provider, order.url, order.key_env or "none"), entry.job or "", entry
    named = provider or (entry.order.provider if entry else "openai")
    return (
        connect(named, base_url or (entry.order.url if entry else None), key_env),
        job or (entry.job if entry else "") or "",
        entry,
    )


def fits(entry: ledger.Entry, provider: ProviderName | None) -> bool:
    return provider is None or entry.order.provider == provider


def run_status(args: JobArgs) -> HostedResult:
    """How a job of this workspace stands. A model may call it: so only servers that a person approved are asked."""
    if args.job is None and not any(entry.job for entry in ledger.entries()):
        return HostedResult(summary="No hosted job was submitted from this workspace.")
    return stands(*way_to(args.job, None, None, None))


def stands(provider: Provider, job: str, entry: ledger.Entry | None) -> HostedResult:
    """How a job stands now. Raises UserError, ServiceError."""
    now = provider.job(job)
    return report(provider, now, provider.events(job, frozenset()), entry)


def follow(
    provider: Provider, job: str, entry: ledger.Entry | None, every: float, tell: Callable[[HostedEvent], None]
) -> HostedResult:
    """Until the job is over; `tell` gets each event once, in order. Raises UserError, ServiceError."""
    events: list[HostedEvent] = []
    last: list[HostedJob] = []
    for now, fresh in watch.follow(provider, job, every):
        last = [now]
        events += fresh
        for event in fresh:
            tell(event)
    return report(provider, last[0], events, entry)


def plan_cancel(args: CancelArgs) -> str:
    return (
        f"Ends the job {args.job} for good. What was trained until then may be billed (Together bills the tokens used "
        "up to the cancellation), and there is no tuned model."
    )


def run_cancel(args: CancelArgs) -> HostedResult:
    """Ended, or as it is where it is over already. Raises UserError, ServiceError."""
    provider, job, entry = way_to(args.job, args.provider, args.base_url, args.key_env)
    now = provider.job(job)
    if now.over:
        told = f"`{job}` is over already: {state(now.status)}. Nothing was cancelled."
    else:
        try:
            now = provider.cancel(job)
        except FinetuneError:
            now = provider.job(job)  # it may have ended, or been cancelled by a request whose answer was lost
            if now.status not in OVER and now.said != "cancel_requested":
                raise
        told = f"`{job}`: {now.status}." if now.over else f"`{job}` is asked to end ({code_span(now.said, 40)})."
    if entry:
        submit.kept(entry, now)
    return HostedResult(job=now.model_dump(), status=now.status, model=now.fine_tuned_model, summary=told)


def known_jobs() -> Iterator[dict[str, Any]]:
    for entry in ledger.entries():
        order = entry.order
        yield {
            "id": entry.job, "provider": order.provider, "base_url": order.url, "status": entry.status or entry.state,
            "model": order.settings.model, "fine_tuned_model": entry.fine_tuned_model, "data": order.data.path,
            "since": entry.since, "here": True,
        }  # fmt: skip


def at_provider(rows: list[dict[str, Any]], provider: Provider) -> Iterator[dict[str, Any]]:
    """The newest jobs at a provider; those of `rows` are brought up to date. Raises UserError, ServiceError."""
    at = {row["id"]: row for row in rows if row["base_url"] == provider.link.url and row["id"]}
    for job in islice(provider.jobs(), LISTED):
        now = {"status": job.status, "fine_tuned_model": job.fine_tuned_model}
        if job.id in at:
            at[job.id].update(now)
        else:
            yield {
                "id": job.id, "provider": provider.name, "base_url": provider.link.url, "model": job.model,
                "data": None, "since": job.created_at, "here": False, **now,
            }  # fmt: skip


def listed(provider: Provider | None) -> HostedResult:
    """The jobs of this workspace, and those at a provider.

    Raises UserError, and ServiceError where the provider fails and there is nothing else to tell.
    """
    rows, failed = list(known_jobs()), None
    warnings = [
        f"An entry of the ledger cannot be read: {path}. The next submit of its order asks the provider for its job."
        for path in ledger.unreadable()
    ]
    if provider:
        try:
            rows += list(at_provider(rows, provider))
        except ServiceError as error:
            if not rows:
                raise
            failed = error
            warnings.append(error.line())
    lines = [
        f"- `{row['id'] or 'not created'}` {row['provider']} {code_span(row['model'] or '')}: {state(row['status'])}"
        f"{', ' + code_span(Path(row['data']).name) if row['data'] else ''}"
        f"{', ' + code_span(row['fine_tuned_model']) if row['fine_tuned_model'] else ''}"
        for row in rows
    ]
    notes = [f"**Note:** {code_span(each, 600)}" for each in warnings]
    told = ["\n".join(lines) or "There are no hosted jobs.", *notes]
    return HostedResult(jobs=rows, warnings=warnings, summary="\n\n".join(told), unreached=failed is not None)


def listed_at(provider: ProviderName, base_url: str | None, key_env: str | None) -> HostedResult:
    return listed(connect(provider, base_url, key_env))


def run_list(_: NoArgs) -> HostedResult:
    """The ledger alone: no server is asked unless it is named."""
    return listed(None)


HOSTED_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="hosted_estimate",
        description="Check a data file for OpenAI or Together and tell tokens, price and what ends, before a hosted "
        "fine-tuning job. Asks nobody.",
        args=EstimateArgs, result=HostedResult, run=run_estimate, reads_only=True,
        command=f"finetune hosted estimate {{data}} --provider {{provider}} {SETTINGS}",
    ),
    Tool(
        name="hosted_submit",
        description="Upload a data file and start a fine-tuning job at OpenAI or Together. Costs money. An equal job "
        "that is there already is returned, not made again.",
        args=SubmitArgs, result=HostedResult, run=run_submit, asks_first=True, plan=plan_submit,
        command=f"finetune hosted submit {{data}} --provider {{provider}} {SETTINGS} --again {{again}} --yes",
    ),
    Tool(
        name="hosted_status",
        description="How a hosted fine-tuning job stands: status, events, training curve, checkpoints, tuned model.",
        args=JobArgs, result=HostedResult, run=run_status, reads_only=True,
        command="finetune hosted watch {job} --once",
    ),
    Tool(
        name="hosted_cancel",
        description="End a hosted fine-tuning job for good.",
        args=CancelArgs, result=HostedResult, run=run_cancel, asks_first=True, plan=plan_cancel,
        command="finetune hosted cancel {job} --provider {provider} --base-url {base_url} --key-env {key_env} --yes",
    ),
    Tool(
        name="hosted_list",
        description="The hosted fine-tuning jobs of this workspace, as last seen. Asks nobody.",
        args=NoArgs, result=HostedResult, run=run_list, reads_only=True, command="finetune hosted list",
    ),
)  # fmt: skip
