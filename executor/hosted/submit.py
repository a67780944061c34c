"""One job for one order, whatever is lost on the way: each step is written down, and the provider is asked first.

A crash or a lost connection leaves an entry in the ledger. The next submit of the same order looks for its file and
its job at the provider, by the key that the job carries, before it uploads or creates anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from executor.errors import FinetuneError, ServiceError, UserError
from executor.files import sha256_file
from executor.hosted.ledger import DataFile, Entry, Order, alone, begun, entries, save
from executor.hosted.link import NO_KEY, Unsure
from executor.hosted.provider import HostedJob, Provider

PAUSES = (1.0, 4.0)
"""seconds between further looks for a job that may have been made and is not listed yet"""
SKEW = 3600.0
"""seconds that a provider's clock and ours may differ"""


@dataclass(frozen=True)
class Placed:
    entry: Entry
    job: HostedJob
    created: bool
    """False: it was there already"""


def known(provider: Provider, order: Order, again: bool) -> Placed | None:
    """The job of this order that the ledger knows of, if it is live, succeeded, or was left half made; else None."""
    if begun(order, 1).state == "planned":
        return None
    entry, job = settled(provider, order, again)
    return Placed(kept(entry, job), job, created=False) if job else None


def place(provider: Provider, order: Order, again: bool) -> Placed:
    """The job of this order: the one that is there, or a new one. Raises UserError, ServiceError.

    `again`: another job though an equal one was finished or runs; one that was left half made is finished first.
    """
    with alone(order):
        entry, job = settled(provider, order, again)
        for pause in PAUSES if job is None and entry.state == "creating" else ():
            time.sleep(pause)
            job = job or found(provider, entry)
        if job:
            return Placed(kept(entry, job), job, created=False)
        return created(provider, uploaded(provider, entry))


def settled(provider: Provider, order: Order, again: bool) -> tuple[Entry, HostedJob | None]:
    """The attempt that counts, with its job; without one where it is to be made. Failed and cancelled ones are past.

    Raises UserError where the last one was cancelled and another is not asked for with `again`.
    """
    attempt, last = 1, None
    while True:
        entry = begun(order, attempt)
        job = look(provider, entry, again)
        if job is None and entry.job is None:
            if last and last.status == "cancelled" and not again and entry.state == "planned":
                what = f"An equal job, {last.id}, was cancelled"
                raise UserError(what, provider.link.host, "Nothing was sent. Add --again to pay for a new one.")
            return entry, None
        past = job is None or job.status in ("failed", "cancelled")
        if job and not past and (not again or entry.state == "creating"):
            return entry, job
        if job:
            kept(entry, job)
        attempt, last = attempt + 1, job


def ended(order: Order) -> list[Entry]:
    """The attempts of this order that failed or were cancelled, as the ledger last saw them, the oldest first."""
    found: list[Entry] = []
    while (entry := begun(order, len(found) + 1)).status in ("failed", "cancelled"):
        found.append(entry)
    return found


def look(provider: Provider, entry: Entry, again: bool) -> HostedJob | None:
    """The job of this entry at the provider."""
    if entry.job is None:
        return found(provider, entry)
    try:
        return provider.job(entry.job)
    except UserError as error:
        if "(404)" not in error.what:
            raise
        if again:
            return None
        what = f"{provider.link.host} does not know the job {entry.job}, which was submitted for this data"
        raise UserError(what, entry.key, "Use the key it was made with, or --again for a new job.") from error


def found(provider: Provider, entry: Entry) -> HostedJob | None:
    """A job that carries the entry's key; or, where its making was cut off, one that can only be it."""
    for job in provider.jobs(entry.key):
        if job.mark == entry.key:
            return job
    if entry.state != "creating" or not entry.training_file:
        return None
    taken = {other.job for other in entries()}
    for job in provider.jobs():
        if job.created_at is not None and job.created_at < entry.since - SKEW:
            break
        unmarked = job.mark is None and job.id not in taken and job.training_file == entry.training_file
        if job.mark == entry.key or (unmarked and provider.same(job, entry.order.settings)):
            return job
    return None


def uploaded(provider: Provider, entry: Entry) -> Entry:
    """The entry with its files at the provider, each uploaded at most once."""
    entry = save(entry)
    for part, data in (("training_file", entry.order.data), ("validation_file", entry.order.validation)):
        if data is None:
            continue
        remote = there(provider, data, getattr(entry, part))
        if remote is None:
            if sha256_file(Path(data.path)) != data.sha256:
                raise UserError("The file changed while it was checked", data.path, "Run the command again.")
            try:
                remote = provider.upload(Path(data.path), data.remote_name)
            except Unsure as error:
                remote = there(provider, data)
                if remote is None:
                    fix = "No job was created; run the same command again."
                    raise ServiceError(error.what, error.where, fix) from error
        entry = save(entry, **{part: remote})
    return save(entry, state="uploaded")


def there(provider: Provider, data: DataFile, remembered: str | None = None) -> str | None:
    """The id of the file at the provider: the remembered one if it is still there, else one of that content."""
    names = [remote for remote in provider.files() if (remote.name, remote.size) == (data.remote_name, data.size)]
    return next((remote.id for remote in names if remote.id == remembered), names[0].id if names else None)


def created(provider: Provider, entry: Entry) -> Placed:
    """The job is asked for once. Where the answer is lost, the provider is asked whether it has it."""
    entry = save(entry, state="creating")
    try:
        job = provider.create(entry.order.settings, entry.training_file or "", entry.validation_file, entry.key)
    except Unsure as error:
        job = after_loss(provider, entry, error)
    except FinetuneError:
        save(entry, state="uploaded")  # refused: nothing was made
        raise
    try:
        return Placed(kept(entry, job), job, created=True)
    except FinetuneError as error:
        what = f"The job {job.id} was created at {provider.link.host} and costs, but is not in the ledger: {error.what}"
        link = provider.link
        there = "" if link.own else f" --base-url {link.url} --key-env {link.key_env or NO_KEY}"
        end = f"finetune hosted cancel {job.id} --provider {provider.name}{there}"
        fix = f"Mend that; the same command then finds it. `{end}` ends it."
        raise UserError(what, error.where, fix) from error


def after_loss(provider: Provider, entry: Entry, error: Unsure) -> HostedJob:
    """Raises ServiceError where the job is not found: the entry stays `creating`, and the next submit looks first."""
    lost = ServiceError(
        f"{error.what.rstrip('.')}. Whether the job was created is not known",
        error.where,
        "Run the same command again: it looks for the job before it creates one.",
    )
    try:
        job = found(provider, entry)
    except FinetuneError:
        raise lost from error
    if job is None:
        raise lost from error
    return job


def kept(entry: Entry, job: HostedJob) -> Entry:
    """The entry with what was last seen of its job."""
    seen = {"state": "created", "job": job.id, "status": job.status, "fine_tuned_model": job.fine_tuned_model}
    return save(entry, training_file=entry.training_file or job.training_file, **seen)
