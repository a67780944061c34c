"""A turn as it comes together, and the events of the graph's stream that make it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.events import Again, ApprovalNeeded, Event, TextDelta, ToolFinished, ToolStarted, Turn

NOTHING = "I have no answer to that. Ask about one step of fine-tuning: decide, data, model, training, evaluation."
STOPPED = "*(stopped)*"
BROKE_OFF = "*(broke off)*"


@dataclass
class Draft:
    """A turn as it comes together."""

    question: str
    intent: str
    text: str = ""
    """what the model wrote since the last tool call"""
    decision: dict[str, Any] | None = None
    diagnoses: list[dict[str, Any]] | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self.text += event.text
        elif isinstance(event, ToolStarted | Again):
            self.text = ""
        elif isinstance(event, ToolFinished):
            self.text = ""
            seconds = round(event.seconds, 3)
            self.steps.append({"tool": event.tool, "args": event.args, "ok": event.ok, "seconds": seconds})
            artifact = event.artifact or {}
            self.decision = artifact.get("decision") or self.decision
            self.diagnoses = artifact.get("diagnoses") or self.diagnoses

    def turn(self, model: str) -> Turn:
        answer = self.text.strip() or NOTHING
        sources = known_sources(answer, self.decision, self.diagnoses)
        return Turn(self.question, model, self.intent, answer, self.decision, self.diagnoses, sources, self.steps)

    def cut(self, mark: str) -> str:
        """What was written of an answer that has no end, and why it has none."""
        return f"{self.text.strip()}\n\n{mark}".strip()


def known_sources(
    answer: str, decision: dict[str, Any] | None, diagnoses: list[dict[str, Any]] | None
) -> list[dict[str, str | None]]:
    """The sources behind the turn, those cited in the answer first; an id that a model made up has none."""
    from knowledge.load import references, sources
    from knowledge.rows import cited

    ids = cited(answer) + [reason["source"] for reason in (decision or {}).get("because") or []]
    ids += [id_ for diagnosis in diagnoses or [] for id_ in diagnosis.get("sources") or []]
    return references(id_ for id_ in ids if id_ in sources())


def tool_event(part: dict[str, Any]) -> Again | ToolStarted | ToolFinished:
    if "again" in part:
        return Again(part["again"])
    call, answer = part["call"], part.get("answer")
    if answer is None:
        return ToolStarted(call["id"], call["name"], call["args"])
    return finished(call, answer, part["seconds"])


def finished(call: Any, answer: Any, seconds: float) -> ToolFinished:
    """`call` and `answer` as langchain has them: a ToolCall, a ToolMessage."""
    ok = answer.status == "success"
    return ToolFinished(call["id"], call["name"], call["args"], ok, seconds, answer.text, answer.artifact)


def decision_on(asked: ApprovalNeeded, approve: bool, edited: dict[str, Any] | None, reason: str) -> dict[str, Any]:
    if not approve:
        return {"type": "reject", "message": reason} if reason else {"type": "reject"}
    if edited is None:
        return {"type": "approve"}
    return {"type": "edit", "edited_action": {"name": asked.tool, "args": edited}}
