"""What a session tells its front end while a turn runs, and what a finished turn is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer, as it is written."""

    text: str


@dataclass(frozen=True)
class Again:
    """The answer broke off and is asked for again: what came of it so far does not count."""

    why: str


@dataclass(frozen=True)
class ToolStarted:
    id: str
    """of the call; the same in its ToolFinished"""
    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class ToolFinished:
    id: str
    tool: str
    args: dict[str, Any]
    ok: bool
    """False: the tool failed, its arguments were wrong, or the user refused it"""
    seconds: float
    text: str
    """what the model reads: the result as Markdown, or the error as one line"""
    artifact: dict[str, Any] | None
    """the result as the contract's JSON; None where the tool failed"""


@dataclass(frozen=True)
class ApprovalNeeded:
    """A tool that spends waits for the user; answer with `Session.answer_approval`."""

    id: str
    tool: str
    args: dict[str, Any]
    command: str
    """the same step as a command line"""
    description: str
    """the plan behind the step, as Markdown"""


@dataclass(frozen=True)
class Turn:
    """One question and all that came of it: the keys of `finetune ask --json`."""

    question: str
    model: str
    intent: str
    answer: str
    decision: dict[str, Any] | None
    diagnoses: list[dict[str, Any]] | None
    sources: list[dict[str, Any]]
    steps: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TurnDone:
    turn: Turn


Event = TextDelta | Again | ToolStarted | ToolFinished | ApprovalNeeded | TurnDone
