"""What the workers tell the window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.message import Message

from agent.events import Event
from agent.session import Session


@dataclass
class SessionEvent(Message):
    """Something happened in the turn that is running."""

    event: Event
    session: Session
    """in which it happened"""


@dataclass
class TurnFailed(Message):
    """The turn ended with an error."""

    line: str


@dataclass
class TurnOver(Message):
    """No worker drives a turn any more, whether it ended, failed, asked, or was stopped."""


@dataclass
class Waits(Message):
    """What the session waits for before it can think; empty: nothing any more."""

    line: str


@dataclass
class HistoryRead(Message):
    """What was said before in this chat."""

    said: list[tuple[str, str]]


@dataclass
class RunProgress(Message):
    """A look into the folder of the run that is shown."""

    progress: dict[str, Any]


@dataclass
class RunUnreadable(Message):
    line: str
    bug: bool = False
    """it would fail, and be written down, at every look"""


@dataclass
class RunFound(Message):
    """A run that goes on, whoever started it; None where no run does."""

    run: str | None
    wanted: str
    """by whom: "chat" (it was opened), "show" or "stop" """


@dataclass
class Typed(Message):
    """Text that was written while something else than the prompt had the keys."""

    text: str
