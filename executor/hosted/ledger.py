"""What was submitted from this workspace: one small file a job, written before and after every step of its making."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from executor.errors import UserError
from executor.files import cannot_write, write_text
from executor.home import workspace
from executor.hosted.provider import Frozen, HostedSettings
from executor.hosted.registry import place

KEY_LENGTH = 32


class DataFile(Frozen):
    """A file to train on or to validate with."""

    path: str
    """absolute"""
    sha256: str
    """of its bytes"""
    size: int
    """bytes"""
    rows: int

    @property
    def remote_name(self) -> str:
        """The name it has at the provider: of its content, so that it is found there again."""
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(self.path).stem)[:40]
        return f"{stem}-{self.sha256[:16]}.jsonl"


class Order(Frozen):
    """A job to be: what makes two submits the same one."""

    provider: Literal["openai", "together"]
    url: str
    key_env: str | None
    """the name of the variable; not part of what makes orders equal"""
    data: DataFile
    validation: DataFile | None = None
    settings: HostedSettings

    def key(self, attempt: int = 1) -> str:
        """Of the content, the settings, the provider or its server, and how often it was deliberately done again."""
        parts = {
            "provider": self.provider,
            "place": place(self.provider, self.url),
            "data": self.data.sha256,
            "validation": self.validation.sha256 if self.validation else None,
            "settings": self.settings.model_dump(),
            "attempt": attempt,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


class Entry(Frozen):
    """How far an order came."""

    key: str
    attempt: int
    order: Order
    state: Literal["planned", "uploaded", "creating", "created"] = "planned"
    """`creating`: the job was asked for, and whether it was made is not known yet"""
    since: float
    """seconds since 1970 when this state was written"""
    training_file: str | None = None
    validation_file: str | None = None
    job: str | None = None
    status: str | None = None
    """as last seen"""
    fine_tuned_model: str | None = None


def folder() -> Path:
    return workspace() / "hosted"


def begun(order: Order, attempt: int) -> Entry:
    """The entry of this attempt; a new one where there is none, or its file is damaged: the key says it all."""
    key = order.key(attempt)
    return load(folder() / f"{key}.json") or Entry(key=key, attempt=attempt, order=order, since=time.time())


def save(entry: Entry, **changes: object) -> Entry:
    """The entry with the changes, on disk when this returns. Raises UserError where it cannot be written."""
    changed = entry.model_copy(update={**changes, "since": time.time()})
    write_text(folder() / f"{changed.key}.json", changed.model_dump_json(indent=2) + "\n")
    return changed


def load(path: Path) -> Entry | None:
    try:
        return Entry.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def entries() -> list[Entry]:
    """All that can be read, newest first."""
    found = [entry for path in folder().glob("*.json") if (entry := load(path))]
    return sorted(found, key=lambda entry: entry.since, reverse=True)


def unreadable() -> list[Path]:
    """Entries that are damaged."""
    return sorted(path for path in folder().glob("*.json") if load(path) is None)


def of_job(job: str) -> Entry | None:
    return next((entry for entry in entries() if entry.job == job), None)


@contextmanager
def alone(order: Order) -> Iterator[None]:
    """No other process of this machine submits the same order meanwhile. Raises UserError where one does."""
    path = folder() / f"{order.key()}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(path, "w")  # noqa: SIM115 (closed below; the lock lives as long as it)
    except OSError as error:
        raise cannot_write(path, error) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            what = "The same job is being submitted by another process"
            raise UserError(what, str(path), "Wait for it, then `finetune hosted list`.") from None
        yield
