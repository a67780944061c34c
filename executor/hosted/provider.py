"""What a provider of hosted fine-tuning is asked for. A new provider is one file that answers this."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from executor.errors import UserError
from executor.hosted.link import Link, Unsure
from executor.text import one_line

Method = Literal["supervised", "dpo"]
OVER = ("succeeded", "failed", "cancelled")
"""how a job ends, at every provider"""
STATES = ("validating_files", "queued", "running", *OVER)
LONGEST = 240
"""characters of a server's message that are shown"""
LATEST = 253402300800
"""the end of the year 9999 in seconds since 1970"""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class HostedSettings(Frozen):
    """How to train; what is None the provider chooses."""

    model: str
    """the provider's name of the base model"""
    method: Method = "supervised"
    n_epochs: int
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    learning_rate: float | None = None
    seed: int | None = None
    suffix: str | None = None
    """words in the name of the tuned model"""


class HostedJob(Frozen):
    """A job as its provider tells it."""

    id: str
    status: str
    """`validating_files queued running succeeded failed cancelled` where the provider's word means one of them"""
    said: str
    """the provider's own word"""
    model: str | None = None
    fine_tuned_model: str | None = None
    training_file: str | None = None
    validation_file: str | None = None
    created_at: float | None = None
    """seconds since 1970"""
    finished_at: float | None = None
    trained_tokens: int | None = None
    hyperparameters: dict[str, Any] = {}
    error: str | None = None
    mark: str | None = None
    """the key that this program gave to the job"""

    @property
    def over(self) -> bool:
        return self.status in OVER


class HostedEvent(Frozen):
    id: str
    created_at: float | None = None
    """seconds since 1970"""
    level: str
    type: str
    message: str
    data: dict[str, Any] = {}

    def line(self) -> str:
        """For a person, on one line that begins as none of the program's own does."""
        at = datetime.fromtimestamp(self.created_at, UTC).strftime("%H:%M:%S ") if self.created_at is not None else ""
        level = f"{self.level}: " if self.level not in ("info", "") else ""
        return f"{at}server> {one_line(level + self.message, LONGEST)}"


class Checkpoint(Frozen):
    step: int | None
    model: str | None
    """by which it can be asked for, or where it lies"""
    metrics: dict[str, Any] = {}


class RemoteFile(Frozen):
    id: str
    name: str
    size: int
    """bytes"""


class Provider(ABC):
    """A provider behind a link. All that it returns is data: texts of a server, with the key masked.

    Every method raises UserError where the provider refuses, ServiceError where it fails or what it sends cannot be
    understood; those that change something ask once and raise `Unsure` where it is not known whether it was done.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    url: ClassVar[str]
    hosts: ClassVar[tuple[str, ...]]
    """its own hosts: its key goes to them, and its dates hold there"""
    key: ClassVar[str]
    """the environment variable with its key"""
    longest_suffix: ClassVar[int]
    most_epochs: ClassVar[int]
    rates: ClassVar[tuple[str, ...]]
    """which fields of the settings name a learning rate here"""

    def __init__(self, link: Link) -> None:
        self.link = link

    def __init_subclass__(cls, **more: Any) -> None:
        """Whatever a method of a provider makes of an odd answer, the error is of the server, in one place."""
        super().__init_subclass__(**more)
        for name in Provider.__abstractmethods__ & vars(cls).keys():
            setattr(cls, name, guarded(getattr(cls, name)))

    def named(self, told: dict[str, Any]) -> str:
        """The id of a job as a server tells it. Raises Unsure where it can stand in no address or command."""
        if is_id(told["id"]):
            return str(told["id"])
        what = f'{self.link.host} tells a job with the id "{one_line(told["id"], 80)}"'
        raise Unsure(what, self.link.url, "Such a job cannot be asked for; look at the provider's own page.")

    @abstractmethod
    def files(self) -> Iterator[RemoteFile]:
        """What was uploaded to train on and can be used, newest first where the provider tells."""

    @abstractmethod
    def upload(self, path: Path, name: str) -> str:
        """The id of the file."""

    @abstractmethod
    def create(self, settings: HostedSettings, training: str, validation: str | None, mark: str) -> HostedJob: ...

    @abstractmethod
    def job(self, job: str) -> HostedJob: ...

    @abstractmethod
    def jobs(self, mark: str | None = None) -> Iterator[HostedJob]:
        """Newest first; with `mark`, where the provider can, those that carry it."""

    @abstractmethod
    def cancel(self, job: str) -> HostedJob: ...

    @abstractmethod
    def events(self, job: str, seen: Set[str]) -> list[HostedEvent]:
        """Those whose id was not seen, oldest first."""

    @abstractmethod
    def checkpoints(self, job: str) -> list[Checkpoint]:
        """By step."""

    @abstractmethod
    def curves(self, job: str, events: Iterable[HostedEvent]) -> list[dict[str, float]]:
        """What was measured, a row a step: `step`, `train_loss` and what else the provider tells."""

    @abstractmethod
    def same(self, job: HostedJob, settings: HostedSettings) -> bool:
        """Whether a job that carries no mark was made with these settings, as far as it tells."""


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method, or a generator, of a provider that raises no other error than those of this program."""

    @functools.wraps(method)
    def asked(self: Provider, *given: Any, **named: Any) -> Any:
        with self.link.understanding():
            return method(self, *given, **named)

    @functools.wraps(method)
    def listed(self: Provider, *given: Any, **named: Any) -> Iterator[Any]:
        with self.link.understanding():
            yield from method(self, *given, **named)

    return listed if inspect.isgeneratorfunction(method) else asked


def words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def maybe(value: Any) -> str | None:
    return words(value) or None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def count(value: Any) -> int | None:
    return value if isinstance(value, int) and is_number(value) else None


def moment(value: Any) -> float | None:
    """Seconds since 1970; some servers tell milliseconds. None where it is no date."""
    if not is_number(value):
        return None
    seconds = float(value) / 1000 if value > 1e11 else float(value)
    return seconds if 0 <= seconds < LATEST else None


def numbers(value: Any) -> dict[str, float]:
    """The finite numbers of an object."""
    found = value.items() if isinstance(value, dict) else ()
    return {str(key): each for key, each in found if is_number(each)}


def is_id(value: str) -> bool:
    """Whether it can be part of an address and of a command."""
    return value.isascii() and value[:1].isalnum() and all(c.isalnum() or c in "-_.:" for c in value)


def safe_id(value: str) -> str:
    """The id of a job. Raises UserError."""
    if not is_id(value):
        raise UserError(
            f'"{one_line(value, 80)}" is no id of a job', "the job", "`finetune hosted list` names the jobs."
        )
    return value
