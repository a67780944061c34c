"""How a hosted job stands, in words and as data: its curve, its checkpoints, and the command that measures it."""

from __future__ import annotations

from contextlib import suppress
from shlex import quote
from typing import Any

from pydantic import Field

from executor.errors import UserError
from executor.hosted import ledger, submit
from executor.hosted.provider import LONGEST, STATES, HostedEvent, HostedJob, Provider
from executor.text import code_span, one_line
from tools.base import Result
from tools.hosted_order import test_rows_of

SHOWN_EVENTS = 12
SERVED = (
    "Together serves a tuned model on a dedicated endpoint only, billed by the minute: start one first, and give the "
    "endpoint's name as --model."
)


NO_NAME = "No command is given for a model of that name; look it up at the provider for `finetune evaluate --model`."


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
    unreached: bool = Field(default=False, exclude=True)
    """the server that was asked failed, and this is what is known without it"""

    @property
    def exit_code(self) -> int:
        return 4 if self.unreached else 0 if self.good else 1

    def text(self) -> str:
        return self.summary


def state(status: str) -> str:
    """A status of ours as it is; another word is the server's."""
    return status if status in STATES else code_span(status, 40)


def speakable(name: str | None) -> bool:
    """Whether a name of a server's can stand in a command that a person copies."""
    return name is not None and one_line(name, LONGEST) == name and "`" not in name


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
    command = evaluate_command(provider, job, entry) if speakable(job.fine_tuned_model) else None
    lines = [f"{provider.title} `{job.id}` ({code_span(job.model or 'no model told')}): **{state(job.status)}**."]
    if job.error:
        lines.append(f"The server says: {code_span(job.error, LONGEST)}")
    lines.append(curve_text(curve))
    if told := [event for event in events[-SHOWN_EVENTS:] if event.type != "metrics"]:
        lines.append("\n".join(["The server's messages:\n", *(f"- {code_span(event.message)}" for event in told)]))
    if points:
        named = "; ".join(f"step {point['step']}: {code_span(point['model'] or '')}" for point in points)
        lines.append(f"Checkpoints: {named}.")
    if job.fine_tuned_model:
        lines.append(f"The tuned model is {code_span(job.fine_tuned_model)}.")
        lines.append(f"Measure it: `{command}`." if command else NO_NAME)
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
