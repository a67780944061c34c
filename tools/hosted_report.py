"""How a hosted job stands, in words and as data: its curve, its checkpoints, and the command that measures it."""

from __future__ import annotations

from contextlib import suppress
from shlex import quote
from typing import Any

from pydantic import Field

from executor.errors import UserError
from executor.hosted import ledger, submit
from executor.hosted.provider import HostedEvent, HostedJob, Provider
from tools.base import Result
from tools.hosted_order import test_rows_of

SHOWN_EVENTS = 12
SERVED = (
    "Together serves a tuned model on a dedicated endpoint only, billed by the minute: start one first, and give the "
    "endpoint's name as --model."
)


class HostedResult(Result):
    """What every verb returns; a key that does not apply is null."""

    job: dict[str, Any] | None = None
    """as the provider tells it"""
    estimate: dict[str, Any] | None = None
    status: str | None = None
    """`validating_files queued running succeeded failed cancelled`"""
    events: list[dict[str, Any]] | None = None
    """oldest first, each once"""
    jobs: list[dict[str, Any]] | None = None
    created: bool | None = None
    """of submit: False where an equal job was there already"""
    model: str | None = None
    """the tuned model's name at the provider"""
    checkpoints: list[dict[str, Any]] | None = None
    metrics: list[dict[str, float]] | None = None
    """the training curve, a row a step"""
    evaluate: str | None = None
    """the command that measures the tuned model"""
    warnings: list[str] = Field(default_factory=list)
    summary: str
    good: bool = Field(default=True, exclude=True)

    @property
    def exit_code(self) -> int:
        return 0 if self.good else 1

    def text(self) -> str:
        return self.summary


def next_step(job: HostedJob) -> str:
    if job.status == "succeeded":
        return f"`finetune hosted watch {job.id}` tells its model and how to measure it."
    return (
        "" if job.over else f"`finetune hosted watch {job.id}` follows it; `finetune hosted cancel {job.id}` ends it."
    )


def report(provider: Provider, job: HostedJob, events: list[HostedEvent], entry: ledger.Entry | None) -> HostedResult:
    """The job with its curve, its checkpoints and, once it has succeeded, how to measure it."""
    if entry:
        submit.kept(entry, job)
    curve, points = provider.curves(job.id, events), []
    if job.status == "succeeded":
        with suppress(UserError):  # a server without checkpoints
            points = [point.model_dump() for point in provider.checkpoints(job.id)]
    command = evaluate_command(provider, job, entry) if job.fine_tuned_model else None
    told = f"{provider.title} `{job.id}` ({job.model}): **{job.status}**"
    lines = [f"{told}{f': {job.error}' if job.error else ''}.", curve_text(curve)]
    lines.append("\n".join(f"- {event.message}" for event in events[-SHOWN_EVENTS:] if event.type != "metrics"))
    if points:
        named = "; ".join(f"step {point['step']}: {point['model']}" for point in points)
        lines.append(f"Checkpoints: {named}.")
    if command:
        lines.append(f"The tuned model is `{job.fine_tuned_model}`. Measure it: `{command}`.")
        lines.append(SERVED if provider.name == "together" else "")
    return HostedResult(
        job=job.model_dump(),
        status=job.status,
        events=[event.model_dump() for event in events],
        model=job.fine_tuned_model,
        checkpoints=points or None,
        metrics=curve or None,
        evaluate=command,
        summary="\n\n".join(filter(None, [*lines, "" if job.status == "succeeded" else next_step(job)])),
        good=job.status not in ("failed", "cancelled"),
    )


def curve_text(curve: list[dict[str, float]]) -> str:
    losses = [row for row in curve if "train_loss" in row]
    if not losses:
        return ""
    first, last = losses[0], losses[-1]
    text = f"Training loss {first['train_loss']:.4g} at step {first['step']:g}"
    text += f", {last['train_loss']:.4g} at step {last['step']:g}"
    checked = [(row[name], row["step"]) for row in curve for name in ("valid_loss", "eval_loss") if name in row]
    return (
        f"{text}; lowest validation loss {min(checked)[0]:.4g} at step {min(checked)[1]:g}." if checked else f"{text}."
    )


def evaluate_command(provider: Provider, job: HostedJob, entry: ledger.Entry | None) -> str:
    """What gives the tuned model the same verdict as one trained here, on the sealed rows where they are known."""
    rows = test_rows_of(entry.order) if entry else None
    flags = {
        "--endpoint": provider.link.url, "--model": job.fine_tuned_model or "",
        "--key-env": provider.link.key_env or "none", "--data": rows or "TEST",
    }  # fmt: skip
    return "finetune evaluate " + " ".join(given(name, value) for name, value in flags.items())


def given(flag: str, value: str) -> str:
    """A flag with its value for a shell. The value may be a server's: it is quoted, and never read as a flag."""
    return f"{flag}={quote(value)}" if value.startswith("-") else f"{flag} {quote(value)}"
