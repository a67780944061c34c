"""The offline advisor: a chat model made of rules. It routes the words, calls tools, and writes from their results."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import uuid4

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import ToolCall, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from agent.prompt import excerpt, situation_in, split_data
from agent.route import Route, route
from agent.writing import write_answer

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

SHORT_TEXT = 12
"""words; a shorter text that names a file is about that file"""
ORDER = re.compile(
    r"\W*((ok(ay)?|yes|please|now|then|and|so|let'?s|i want (you )?to|can you|could you)\W+)*"
    r"(train|fine-?\s?tune|start|go ahead|go on|do it|run (it|the (whole )?job|everything)|do the (whole )?job)\b",
    re.IGNORECASE,
)
"""The beginning of a text that orders a training run, rather than asks about one."""
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
MEANING = re.compile(r"\s*what (is|are|does|do) (\S+ ){0,4}\S+$", re.IGNORECASE)
"""A short question for what something is."""
GUIDE = re.compile(r"\b(guide|walk|take) me\b|\bfrom the (start|beginning)\b", re.IGNORECASE)
WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


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

    @property
    def question(self) -> str:
        return excerpt(self.text)

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
    heard = route(excerpt(text))
    system = next((message.text for message in messages if isinstance(message, SystemMessage)), "")
    results = tuple(message for message in messages[last:] if isinstance(message, ToolMessage))
    path = data or meant(heard.path, text)
    return Said(text, path, heard, situation_in(system), results, tuple(messages[:last]))


def meant(path: str | None, text: str) -> str | None:
    """The path, unless it is only mentioned in passing: in a long text a file counts if it exists."""
    if path is None or len(text.split()) <= SHORT_TEXT:
        return path
    try:
        return path if Path(path).expanduser().exists() else None
    except OSError:
        return None


class OfflineAdvisor(BaseChatModel):
    """Needs no key and no network. The same agent, tools and approvals as with a language model."""

    @property
    def _llm_type(self) -> str:
        return "offline-advisor"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **_: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=reply(messages))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in chunks(reply(messages)):
            yield ChatGenerationChunk(message=chunk)


def reply(messages: Sequence[BaseMessage]) -> AIMessage:
    """The next message: tool calls while something is still to be found out, then the answer."""
    now = said(messages)
    calls = next_calls(now)
    return AIMessage("", tool_calls=calls) if calls else AIMessage(write_answer(now))


def chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """The message, word by word."""
    for at, call in enumerate(message.tool_calls):
        piece = tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=at)
        yield AIMessageChunk(content="", tool_call_chunks=[piece])
    for match in WORD.finditer(message.text):
        yield AIMessageChunk(content=match.group())


def next_calls(now: Said) -> list[ToolCall]:
    return later_calls(now) if now.results else first_calls(now)


def first_calls(now: Said) -> list[ToolCall]:
    """What the words ask for: an order, the guided way, an answer to our questions, a choice, or else by intent."""
    if now.ordered:
        return [call("plan", data=now.ordered)]
    if now.begins:
        return [call("decide", question=now.question), *looking_at(now.path)]
    if answers_questions(now):
        return [call("decide", question=now.question, situation=now.situation), *looking_at(now.path)]
    if now.route.intent != "decide" and (chooses(now) or tells_a_task(now)):
        return [call("decide", question=now.question), *by_intent(now)]
    return by_intent(now)


def chooses(now: Said) -> bool:
    """Whether the words weigh ways against each other; `which rate should I set` does not."""
    return now.route.intent not in ("configure", "cost", "deploy") and CHOICE.search(now.question) is not None


def tells_a_task(now: Said) -> bool:
    """Whether somebody tells of a task at length, without a fault to find."""
    long = len(now.question.split()) >= TOLD and OWN.search(now.question) is not None
    return long and now.route.intent != "debug" and not now.path


def by_intent(now: Said) -> list[ToolCall]:
    """The tools for each intent; a question of knowledge is looked up as well."""
    intent, path = now.route.intent, now.path
    plain = now.text.rstrip().endswith("?") and not CHOICE.search(now.text)
    explain = [look_up(now)] if plain or EXPLAIN.match(now.text) else []
    if intent == "decide" and MEANING.match(now.text) and not CHOICE.search(now.text):
        return [look_up(now)]
    if intent == "decide":
        return [call("decide", question=now.question), *looking_at(path), *explain]
    if intent == "debug":
        return [call("diagnose", symptom=path if is_log(path) else now.question), *explain]
    if intent == "choose_model":
        return [call("recommend_models", task=now.question), *explain]
    if intent == "evaluate":
        return [look_up(now), call("runs", action="list")]
    if intent in ("configure", "cost") and path:
        return [call("plan", data=path), look_up(now)]
    if path and intent in ("prepare_data", "train", "other"):
        return [*looking_at(path), call("data_check", path=path)]
    return [look_up(now)]


def later_calls(now: Said) -> list[ToolCall]:
    """What the first results make possible: train after a plan, show the newest run after the list of runs."""
    if now.ordered and now.succeeded("plan") and now.result("go") is None:
        task = {"task": now.route.task} if now.route.task else {}
        return [call("go", data=now.ordered, **task)]
    listed = now.result("runs")
    if now.route.intent == "evaluate" and listed is not None and len(now.results) == 2:
        newest = newest_run(listed.artifact)
        return [call("runs", action="show", run=newest)] if newest else []
    return []


def is_log(path: str | None) -> TypeGuard[str]:
    """Whether the path is what `diagnose` reads: a log or a run's folder, not a data file."""
    return path is not None and (path.endswith((".log", ".txt")) or Path(path).is_dir())


def looking_at(path: str | None) -> list[ToolCall]:
    return [call("data_inspect", path=path)] if path else []


def look_up(now: Said) -> ToolCall:
    return call("look_up", question=now.question, intent=now.route.intent)


def call(tool: str, **args: Any) -> ToolCall:
    return ToolCall(name=tool, args=args, id=f"call-{uuid4().hex[:12]}", type="tool_call")


def answers_questions(now: Said) -> bool:
    """Whether the words answer what the last decision asked, rather than ask something new."""
    if now.path or not now.situation or now.text.rstrip().endswith("?") or EXPLAIN.match(now.text):
        return False
    if now.route.intent not in ("decide", "other") and len(now.text.split()) > SHORT_TEXT:
        return False
    turn_start = max((at for at, m in enumerate(now.earlier) if isinstance(m, HumanMessage)), default=0)
    return any(isinstance(m, ToolMessage) and m.name == "decide" for m in now.earlier[turn_start:])


def last_path(earlier: Sequence[BaseMessage]) -> str | None:
    """The file that the user named last."""
    for message in reversed(earlier):
        if isinstance(message, HumanMessage):
            text, data = split_data(message.text)
            path = data or meant(route(excerpt(text)).path, text)
            if path:
                return path
    return None


def newest_run(artifact: Any) -> str | None:
    """The newest run in the result of `runs list`, which gives the newest first."""
    runs = (artifact or {}).get("runs") or []
    return str(runs[0].get("run") or runs[0].get("name")) if runs else None
