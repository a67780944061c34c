"""The conversation as the rules of the offline advisor hear it: the last words, what they name, what they ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agent.language import Language, detect, in_english
from agent.prompt import excerpt, situation_in, split_data
from agent.route import Route, exists, route

SHORT_TEXT = 12
"""words; a shorter text that names a file is about that file"""
ORDER = re.compile(
    r"\W*((ok(ay)?|yes|please|now|then|and|so|let'?s|i want (you )?to|can you|could you)\W+)*"
    r"(train|fine-?\s?tune|start|go ahead|go on|do it|run (it|the (whole )?job|everything)|do the (whole )?job)\b",
    re.IGNORECASE,
)
"""The beginning of a text that orders a training run, rather than asks about one."""
RESUME = re.compile(
    r"\W*((ok(ay)?|yes|please|now|then|and|so|let'?s|i want (you )?to|can you|could you)\W+)*"
    r"((?P<again>resume|finetune train --resume|train --resume)|continue|go on|carry on)\b",
    re.IGNORECASE,
)
"""The beginning of a text that may order to go on with a run that was stopped."""
A_RUN = frozenset({"it", "job", "run", "training"})
AROUND = A_RUN | frozenset(
    {"again", "at", "checkpoint", "from", "interrupted", "last", "latest", "me", "my", "newest", "now", "of", "our",
     "paused", "please", "stopped", "that", "the", "this", "was", "where", "which", "with"}
)  # fmt: skip
"""what may stand around the run's name"""
RUN_NAME = re.compile(r"(?=.*[\d/-])[\w./~:-]+")
EXPLAIN = re.compile(r"\s*(what|when|why|how|where|which|who|does|is there|are there)\b", re.IGNORECASE)
"""The beginning of a question of knowledge, whatever it is about."""
CHOICE = re.compile(
    r"\b(should (we|i)\b|(do|does|did) (we|i|it) (need|have) to\b|worth (it|[\w-]+ing)\b|or something else|"
    r"(what|which) approach|what (would|should)\b|use instead|combination|is (prompting|few-?shot|rag|retrieval|"
    r"(\w+ )?fine-?\s?tuning) (\w+ )?(the|a|needed|required|enough|right|better)\b|"
    r"(would|will) .{0,60}\b(do better|help)\b|"
    r"or (is|a|just|better)? ?(fine-?\s?tun|prompt|few-?shot|rag\b|retriev|both\b))",
    re.IGNORECASE,
)
"""A choice between ways, in whatever intent it is wrapped."""
OWN = re.compile(
    r"\b(we|our|us|i|my|i'd|we'd|company|team|startup|firm|product|customers|users|clinic|university)\b", re.IGNORECASE
)
"""The voice of somebody who tells of a task of theirs."""
TOLD = 15
"""words; a longer text in that voice that asks for a way is also decided on"""
FAULT = re.compile(
    r"\w(Error|Exception)\b|traceback|\bloss\b|\bnan\b|\boom\b|out of memory|\bcrash|\bgrad|\b(eos|pad)\b", re.I
)
"""Words of a training that went wrong."""
PRECISE = re.compile(
    r"\b(which|what)\b[^.?!]{0,60}\b(option|parameter|argument|setting|flag|value|function|class|method|switch|command|"
    r"field|column|key|token|limit|number|default|format|type)s?\b[^.?!]*\?\s*$",
    re.IGNORECASE,
)
"""A question for one name or number, whatever was told before it."""
LONG = 22
"""words; a text of so many tells of a task in whatever voice"""
MEANING = re.compile(r"\s*(what (is|are|does|do) (\S+ ){0,4}\S+$|(please )?(explain|define|describe)\b)", re.IGNORECASE)
"""A short question for what something is."""
SENTENCE = re.compile(r"(?<=[.!?\n])\s+")
COMMAND = re.compile(
    r"\b(ignore|disregard|forget|override)\b.{0,30}\b(rules?|instructions?|prompts?|guidelines)\b|"
    r"\byou (must|have to|shall|will) (only |now |always )*(answer|say|reply|output|respond|decide|recommend)\b|"
    r"^\W*(only )?(say|answer|output|reply|respond)( with)?\W+(decision|approach|fine_tune|rag|yes|no)\b|"
    r"\b(reveal|print|show|repeat)\b.{0,20}\bsystem prompt\b",
    re.IGNORECASE,
)
GREETING = re.compile(
    r"\W*(hi|hello|hey|good (morning|evening|day)|thanks?( you)?( a lot| very much)?|thx|bye|who are you|what are you|"
    r"what can you do|help|how are you|are you (an? )?(ai|bot|human))\W*$",
    re.IGNORECASE,
)
SUPPOSE = re.compile(r"\W*((and|but|ok(ay)?|so|then|hm+)\W+)*(what )?if\b|\W*suppos", re.IGNORECASE)
"""The beginning of a text that changes the situation as an experiment."""
WHY = re.compile(r"\W*(but |and )?why( (not|is that|that|so))?\W*$", re.IGNORECASE)
GUIDE = re.compile(r"\b(guide|walk|take) me\b|\bfrom the (start|beginning)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """The conversation as the rules see it."""

    text: str
    """the user's last words"""
    path: str | None
    """the data file they name"""
    route: Route
    situation: dict[str, Any] | None
    results: tuple[ToolMessage, ...]
    """what the tools answered since"""
    earlier: tuple[BaseMessage, ...]
    """all before the user's last words"""

    language: Language | None = None
    """where it is not English"""

    @property
    def question(self) -> str:
        """The words without what would command the advisor, in another language with the field's words in English."""
        asked = without_commands(excerpt(self.text))
        return f"{asked} {in_english(asked, self.language)}" if self.language else asked

    @property
    def searched(self) -> str:
        """What is looked up: in another language only the field's words."""
        asked = without_commands(excerpt(self.text))
        return (in_english(asked, self.language) if self.language else "") or asked

    @property
    def resumes(self) -> str | None:
        """The run to go on with, where the words order it; empty: the newest that was stopped. None for other words."""
        found = RESUME.match(self.text)
        if found is None or self.route.intent == "debug":
            return None
        words = [word.strip("`'\"()").rstrip(".,;:!?`'\"()") for word in self.text[found.end() :].split()]
        rest = [word for word in words if word and word.lower() not in AROUND]
        if not rest:
            return "" if found["again"] or A_RUN & {word.lower() for word in words} else None
        named = len(rest) == 1 and (RUN_NAME.fullmatch(rest[0]) or (found["again"] and "run" in words))
        return rest[0] if named and (found["again"] or not is_file(rest[0])) else None

    @property
    def ordered(self) -> str | None:
        """The file to train on, where the words order it: the one they name, else the one named last."""
        if self.route.intent == "debug" or self.text.rstrip().endswith("?") or not ORDER.match(self.text):
            return None
        return self.path or last_path(self.earlier)

    @property
    def begins(self) -> bool:
        """Whether the words ask to be guided through all of it."""
        return not self.ordered and (self.route.workflow or GUIDE.search(self.text) is not None)

    @property
    def precise(self) -> bool:
        """Whether the words end in a question for one name or number, which a fact answers."""
        return PRECISE.search(self.text) is not None

    @property
    def decides(self) -> bool:
        """Whether the words ask which way to take, rather than only tell of a task."""
        return self.route.intent == "decide" or self.begins or chooses(self) or answers_questions(self)

    def result(self, tool: str) -> ToolMessage | None:
        return next((result for result in reversed(self.results) if result.name == tool), None)

    def succeeded(self, tool: str) -> bool:
        result = self.result(tool)
        return result is not None and result.status == "success"


def said(messages: Sequence[BaseMessage]) -> Said:
    """Read a conversation that has at least one message of the user."""
    last = max(at for at, message in enumerate(messages) if isinstance(message, HumanMessage))
    text, data = split_data(messages[last].text)
    asked = without_commands(excerpt(text))
    language = detect(asked)
    heard = route(f"{asked} {in_english(asked, language)}" if language else asked)
    system = next((message.text for message in messages if isinstance(message, SystemMessage)), "")
    results = tuple(message for message in messages[last:] if isinstance(message, ToolMessage))
    path = data or meant(heard.path, text)
    return Said(text, path, heard, situation_in(system), results, tuple(messages[:last]), language)


def without_commands(text: str) -> str:
    """The text without the sentences that would command the advisor: what a user says is data, never instruction."""
    return " ".join(part for part in SENTENCE.split(text) if not COMMAND.search(part)) if COMMAND.search(text) else text


def is_file(text: str) -> bool:
    """Whether a word names data rather than a run: a file with an ending, there or not."""
    return re.search(r"\.[A-Za-z]\w*$", text) is not None


def meant(path: str | None, text: str) -> str | None:
    """The path, unless it is only mentioned in passing: in a long text a file counts if it exists."""
    if path is None or len(text.split()) <= SHORT_TEXT:
        return path
    return path if exists(path) else None


def chooses(now: Said) -> bool:
    """Whether the words weigh ways against each other; `which rate should I set` does not."""
    return (
        now.route.intent not in ("configure", "cost", "deploy", "choose_model")
        and CHOICE.search(now.question) is not None
    )


def tells_a_task(now: Said) -> bool:
    """Whether somebody tells of a task at length, without a fault to find; of a fault only where it asks for a way."""
    length, own = len(now.question.split()), OWN.search(now.question) is not None
    told = (length >= LONG or (length >= TOLD and own)) and not now.path and not now.precise
    asks = now.text.rstrip().endswith("?") and not FAULT.search(now.text)
    return told and (now.route.intent != "debug" or asks)


def answers_questions(now: Said) -> bool:
    """Whether the words answer what the last decision asked, rather than ask something new."""
    if now.path or decided_before(now) is None:
        return False
    if SUPPOSE.match(now.text) or WHY.match(now.text):
        return True
    if now.text.rstrip().endswith("?") or EXPLAIN.match(now.text):
        return False
    return now.route.intent in ("decide", "other") or len(now.text.split()) <= SHORT_TEXT


def decided_before(now: Said) -> ToolMessage | None:
    """The newest decision of the last two turns: one reply that was not understood does not end the thread."""
    turns = [at for at, message in enumerate(now.earlier) if isinstance(message, HumanMessage)]
    start = turns[-2] if len(turns) > 1 else 0
    made = (m for m in reversed(now.earlier[start:]) if isinstance(m, ToolMessage) and m.name == "decide")
    return next(made, None)


def questions_put(now: Said) -> list[str]:
    """What the last decision asked, in its order."""
    last = decided_before(now)
    artifact = last.artifact if last is not None and isinstance(last.artifact, dict) else {}
    return list((artifact.get("decision") or {}).get("missing") or [])


def task_told(now: Said) -> str:
    """The user's words at the last decision that was not itself about a reply: those that tell the task."""
    for message in reversed(now.earlier):
        for made in getattr(message, "tool_calls", ()):
            if made["name"] == "decide":
                return str(made["args"].get("task") or made["args"].get("question") or "")
    return ""


def last_path(earlier: Sequence[BaseMessage]) -> str | None:
    """The file that the user named last."""
    for message in reversed(earlier):
        if isinstance(message, HumanMessage):
            text, data = split_data(message.text)
            path = data or meant(route(excerpt(text)).path, text)
            if path:
                return path
    return None
