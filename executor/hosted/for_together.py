"""Together's fine-tuning jobs, by the openai SDK's plain requests to Together's own paths."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

MARK = 12
"""characters of our key that stand at the end of a job's suffix, the one text of a job that Together gives back"""
STATUS = {
    "pending": "queued", "queued": "queued", "running": "running", "compressing": "running", "uploading": "running",
    "cancel_requested": "running", "cancelled": "cancelled", "error": "failed", "user_error": "failed",
    "completed": "succeeded",
}  # fmt: skip
BROKEN = ("FAILED", "INVALID_FORMAT")
"""what Together's own validation says of a file that cannot be used"""


class ForTogether(Provider):
    name = "together"
    title = "Together"
    url = "https://api.together.xyz/v1"
    hosts = ("api.together.xyz", "api.together.ai")
    key = "TOGETHER_API_KEY"
    longest_suffix = 40 - MARK - 1
    most_epochs = 20
    rates = ("learning_rate",)

    def files(self) -> Iterator[RemoteFile]:
        for each in self._list("/files"):
            if isinstance(each.get("id"), str) and each.get("processing_status") not in BROKEN:
                yield RemoteFile(id=each["id"], name=words(each.get("filename")), size=count(each.get("bytes")) or 0)

    def upload(self, path: Path, name: str) -> str:
        fields = {"purpose": "fine-tune", "file_name": name, "file_type": "jsonl"}
        with open(path, "rb") as data:
            sent = self.link.once(
                lambda client: client.post(
                    "/files/upload", body=fields, files={"file": (name, data, "application/jsonl")},
                    options={"headers": {"Content-Type": "multipart/form-data"}}, cast_to=object,
                ),
                UPLOAD_SECONDS,
            )  # fmt: skip
        return str(self.link.object(sent)["id"])

    def create(self, settings: HostedSettings, training: str, validation: str | None, mark: str) -> HostedJob:
        body: dict[str, Any] = {
            "training_file": training,
            "model": settings.model,
            "n_epochs": settings.n_epochs,
            "batch_size": settings.batch_size or "max",
            "suffix": "-".join(filter(None, [settings.suffix, mark[:MARK]])),
            "training_method": {"method": "dpo" if settings.method == "dpo" else "sft"},
        }
        if settings.method == "supervised":
            body["training_method"]["train_on_inputs"] = "auto"
        if settings.learning_rate is not None:
            body["learning_rate"] = settings.learning_rate
        if settings.seed is not None:
            body["random_seed"] = settings.seed
        if validation:
            body |= {"validation_file": validation, "n_evals": settings.n_epochs}
        made = self.link.once(lambda client: client.post("/fine-tunes", body=body, cast_to=object))
        return self._job(self.link.object(made))

    def job(self, job: str) -> HostedJob:
        return self._job(self.link.object(self._get(f"/fine-tunes/{safe_id(job)}"), job))

    def jobs(self, mark: str | None = None) -> Iterator[HostedJob]:
        found = [self._job(self.link.object(each)) for each in self._list("/fine-tunes")]
        for each in sorted(found, key=lambda job: job.created_at or 0.0, reverse=True):
            if mark is None or each.mark == mark[:MARK]:
                yield each.model_copy(update={"mark": mark}) if mark else each

    def cancel(self, job: str) -> HostedJob:
        made = self.link.once(lambda client: client.post(f"/fine-tunes/{safe_id(job)}/cancel", cast_to=object))
        return self._job(self.link.object(made, job))

    def events(self, job: str, seen: Set[str]) -> list[HostedEvent]:
        """Together's events have no id: equal ones are counted, and the list is always whole."""
        rows = sorted(
            self._list(f"/fine-tunes/{safe_id(job)}/events"), key=lambda row: when(row.get("created_at")) or 0
        )
        times, found = Counter[str](), []
        for row in rows:
            text = json.dumps(row, sort_keys=True)
            times[text] += 1
            name = hashlib.sha256(f"{text}{times[text]}".encode()).hexdigest()[:16]
            if name not in seen:
                found.append(self._event(name, row))
        return found

    def checkpoints(self, job: str) -> list[Checkpoint]:
        rows = self._list(f"/fine-tunes/{safe_id(job)}/checkpoints")
        found = [
            Checkpoint(step=count(row.get("step")), model=maybe(row.get("object_name")) or maybe(row.get("path")))
            for row in rows
        ]
        return sorted(found, key=lambda each: each.step or 0)

    def curves(self, job: str, events: Iterable[HostedEvent]) -> list[dict[str, float]]:
        told = self._get(f"/fine-tunes/{safe_id(job)}/metrics")
        rows = told.get("metrics") if isinstance(told, dict) else None
        found = [numbers(row) for row in rows] if isinstance(rows, list) else []
        named = [{"step": row["global_step"], **row} if "global_step" in row else row for row in found]
        return sorted((row for row in named if "step" in row), key=lambda row: row["step"])

    def same(self, job: HostedJob, settings: HostedSettings) -> bool:
        """Every job of ours carries its mark."""
        return False

    def _get(self, path: str) -> Any:
        return self.link.read(lambda client: client.get(path, cast_to=object))

    def _list(self, path: str) -> list[dict[str, Any]]:
        return self.link.rows(self._get(path))

    def _job(self, told: dict[str, Any]) -> HostedJob:
        said = words(told.get("status"))
        suffix = words(told.get("suffix")) or words(told.get("model_output_name"))
        events = told["events"] if isinstance(told.get("events"), list) else []
        events = [each for each in events if isinstance(each, dict)]
        faults = [words(each.get("message")) for each in events if words(each.get("type")).endswith("ERROR")]
        return HostedJob(
            id=self.named(told),
            status=STATUS.get(said, said or "unknown"),
            said=said,
            model=maybe(told.get("model")),
            fine_tuned_model=maybe(told.get("model_output_name")) if said == "completed" else None,
            training_file=maybe(told.get("training_file")),
            validation_file=maybe(told.get("validation_file")),
            created_at=when(told.get("created_at")),
            finished_at=when(told.get("updated_at"))
            if STATUS.get(said) in ("succeeded", "failed", "cancelled")
            else None,
            trained_tokens=count(told.get("token_count")),
            hyperparameters={key: told[key] for key in ("n_epochs", "batch_size", "learning_rate") if key in told},
            error=faults[-1] if faults else None,
            mark=mark_in(suffix),
        )

    def _event(self, name: str, row: dict[str, Any]) -> HostedEvent:
        data = {key: row[key] for key in ("step", "total_steps", "token_count") if row.get(key) is not None}
        return HostedEvent(
            id=name,
            created_at=when(row.get("created_at")),
            level=words(row.get("level")).lower().removeprefix("legacy_") or "info",
            type=words(row.get("type")).lower() or "message",
            message=words(row.get("message")),
            data=data,
        )


def when(value: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 date; None where it is none."""
    try:
        read = datetime.fromisoformat(words(value))
    except ValueError:
        return None
    return moment((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())


def mark_in(text: str) -> str | None:
    """The mark that a suffix ends with, or that stands in the name of a tuned model."""
    for part in reversed(text.replace("/", "-").replace(":", "-").split("-")):
        if len(part) == MARK and all(c in "0123456789abcdef" for c in part):
            return part
    return None
