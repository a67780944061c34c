"""OpenAI's fine-tuning jobs, and those of servers that speak the same API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from executor.errors import ServiceError
from executor.hosted.link import UPLOAD_SECONDS
from executor.hosted.provider import (
    Checkpoint,
    HostedEvent,
    HostedJob,
    HostedSettings,
    Provider,
    RemoteFile,
    count,
    maybe,
    moment,
    numbers,
    safe_id,
    words,
)

MARK = "finetune_key"
"""the name of our key in a job's metadata"""
PAGE = 100
MOST_PAGES = 500
"""of one list that are read"""
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


class ForOpenAI(Provider):
    name = "openai"
    title = "OpenAI"
    url = "https://api.openai.com/v1"
    hosts = ("api.openai.com",)
    key = "OPENAI_API_KEY"
    longest_suffix = 64
    most_epochs = 50
    rates = ("learning_rate_multiplier",)

    def files(self) -> Iterator[RemoteFile]:
        for each in self._all(lambda client: client.files.list(purpose="fine-tune", order="desc")):
            if each.get("status") != "error" and each.get("purpose") == "fine-tune":
                yield RemoteFile(id=each["id"], name=words(each.get("filename")), size=count(each.get("bytes")) or 0)

    def upload(self, path: Path, name: str) -> str:
        with open(path, "rb") as data:
            sent = self.link.once(
                lambda client: client.files.create(file=(name, data, "application/jsonl"), purpose="fine-tune"),
                UPLOAD_SECONDS,
            )
        return str(self.link.object(sent)["id"])

    def create(self, settings: HostedSettings, training: str, validation: str | None, mark: str) -> HostedJob:
        given = {name: value for name in HYPERPARAMETERS if (value := getattr(settings, name)) is not None}
        more: dict[str, Any] = {"suffix": settings.suffix, "seed": settings.seed, "validation_file": validation}
        method: Any = {"type": settings.method, settings.method: {"hyperparameters": given}}
        made = self.link.once(
            lambda client: client.fine_tuning.jobs.create(
                model=settings.model, training_file=training, method=method, metadata={MARK: mark},
                **{key: value for key, value in more.items() if value is not None},
            )
        )  # fmt: skip
        return self._job(self.link.object(made))

    def job(self, job: str) -> HostedJob:
        found = self.link.read(lambda client: client.fine_tuning.jobs.retrieve(safe_id(job)))
        return self._job(self.link.object(found, job))

    def jobs(self, mark: str | None = None) -> Iterator[HostedJob]:
        asked: dict[str, Any] = {"metadata": {MARK: mark}} if mark else {}
        for each in self._all(lambda client: client.fine_tuning.jobs.list(limit=PAGE, **asked)):
            yield self._job(each)

    def cancel(self, job: str) -> HostedJob:
        made = self.link.once(lambda client: client.fine_tuning.jobs.cancel(safe_id(job)))
        return self._job(self.link.object(made, job))

    def events(self, job: str, seen: Set[str]) -> list[HostedEvent]:
        """The list runs from the newest on; where a server turns it round, the dates tell."""
        found: list[HostedEvent] = []
        pages = self._pages(lambda client: client.fine_tuning.jobs.list_events(safe_id(job), limit=PAGE))
        for page in pages:
            found += [self._event(each) for each in page]
            if any(each["id"] in seen for each in page) and falling(found):
                break
        fresh = [event for event in {event.id: event for event in found}.values() if event.id not in seen]
        return fresh[::-1] if falling(found) else fresh

    def checkpoints(self, job: str) -> list[Checkpoint]:
        pages = self._all(lambda client: client.fine_tuning.jobs.checkpoints.list(safe_id(job), limit=PAGE))
        found = [
            Checkpoint(
                step=count(each.get("step_number")),
                model=maybe(each.get("fine_tuned_model_checkpoint")),
                metrics=numbers(each.get("metrics")),
            )
            for each in pages
        ]
        return sorted(found, key=lambda each: each.step or 0)

    def curves(self, job: str, events: Iterable[HostedEvent]) -> list[dict[str, float]]:
        rows = [numbers(event.data) for event in events if event.type == "metrics"]
        return sorted((row for row in rows if "step" in row), key=lambda row: row["step"])

    def same(self, job: HostedJob, settings: HostedSettings) -> bool:
        given = {name: getattr(settings, name) for name in HYPERPARAMETERS}
        told = job.hyperparameters
        alike = all(value is None or told.get(name, value) == value for name, value in given.items())
        return alike and (job.model or "").startswith(settings.model)

    def _all(self, ask: Callable[[Any], Any]) -> Iterator[dict[str, Any]]:
        for page in self._pages(ask):
            yield from page

    def _pages(self, ask: Callable[[Any], Any]) -> Iterator[list[dict[str, Any]]]:
        """Page after page; a server that sends the same page for ever is left. Raises ServiceError for too many."""
        page, known = self.link.read(ask), set[str]()
        for _ in range(MOST_PAGES):
            rows = [self.link.object(each) for each in self.link.listed(getattr(page, "data", None))]
            fresh = [row for row in rows if row["id"] not in known]
            if not fresh:
                return
            yield fresh
            known |= {row["id"] for row in fresh}
            here = page
            if not here.has_next_page():
                return
            page = self.link.read(lambda client, at=here: at.get_next_page())  # type: ignore[misc]
        what = f"{self.link.host} sends page after page without an end"
        raise ServiceError(what, self.link.url, f"More than {MOST_PAGES} pages of {PAGE} are not read.")

    def _job(self, told: dict[str, Any]) -> HostedJob:
        fault, metadata = told.get("error"), told.get("metadata")
        method = told.get("method")
        kind = method.get(words(method.get("type"))) if isinstance(method, dict) else None
        given = (kind or {}).get("hyperparameters") if isinstance(kind, dict | None) else None
        return HostedJob(
            id=self.named(told),
            status=words(told.get("status")) or "unknown",
            said=words(told.get("status")),
            model=maybe(told.get("model")),
            fine_tuned_model=maybe(told.get("fine_tuned_model")),
            training_file=maybe(told.get("training_file")),
            validation_file=maybe(told.get("validation_file")),
            created_at=moment(told.get("created_at")),
            finished_at=moment(told.get("finished_at")),
            trained_tokens=count(told.get("trained_tokens")),
            hyperparameters=next((each for each in (given, told.get("hyperparameters")) if isinstance(each, dict)), {}),
            error=maybe(fault.get("message")) if isinstance(fault, dict) else None,
            mark=maybe(metadata.get(MARK)) if isinstance(metadata, dict) else None,
        )

    def _event(self, told: dict[str, Any]) -> HostedEvent:
        data = told.get("data")
        return HostedEvent(
            id=told["id"],
            created_at=moment(told.get("created_at")),
            level=words(told.get("level")),
            type=words(told.get("type")) or "message",
            message=words(told.get("message")),
            data=data if isinstance(data, dict) else {},
        )


def falling(events: list[HostedEvent]) -> bool:
    """Whether the dates fall from the first to the last, or tell nothing."""
    dates = [event.created_at for event in events if event.created_at is not None]
    return not dates or dates[0] >= dates[-1]
