"""A job from where it stands to its end: each event once and in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from executor.hosted.provider import HostedEvent, HostedJob, Provider


def follow(
    provider: Provider, job: str, every: float, wait: Callable[[float], None] = time.sleep
) -> Iterator[tuple[HostedJob, list[HostedEvent]]]:
    """(the job, what happened since the last look) every `every` seconds until it is over.

    The job is read before its events, so that those of its end are among the last. Raises UserError, ServiceError.
    """
    seen: set[str] = set()
    while True:
        now = provider.job(job)
        fresh = provider.events(job, seen)
        seen |= {event.id for event in fresh}
        yield now, fresh
        if now.over:
            return
        wait(every)
