"""The offline advisor: a chat model made of rules. It routes the words, calls tools, and writes from their results."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import uuid4

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import ToolCall, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from agent.heard import (
    CHOICE,
    EXPLAIN,
    GREETING,
    MEANING,
    Said,
    answers_questions,
    chooses,
    last_path,
    questions_put,
    said,
    task_told,
    tells_a_task,
)  # fmt: skip
from agent.measured import data_named, measured_args, orders_measurement
from agent.writing import write_answer
from tools.runs import RESUMABLE

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

FORMATS = re.compile(
    r"\W*(?:(?:ok(?:ay)?|please|now|then|and|so|can you|could you|let'?s)\W+)*(?:re)?(?:format|convert)\b",
    re.IGNORECASE,
)
"""an order to write the rows of a file as chat rows"""
EXPORTS = re.compile(
    r"\W*(?:(?:ok(?:ay)?|please|now|then|and|so)\W+)*(?:export|deliver|convert|merge|save)\b[^.?!]{0,40}"
    r"\b(ollama|gguf|llama\.cpp|vllm|merged|safetensors)\b",
    re.IGNORECASE,
)
"""an order to deliver the newest tuned run"""
PUSHES = re.compile(
    r"\W*(?:(?:ok(?:ay)?|please|now|then|and|so)\W+)*(?:push|upload|publish|export|deliver)\b[^?!\n]{0,120}"
    r"\b(?:hub|hugging\s?face)\b",
    re.IGNORECASE,
)
NAMED = re.compile(
    r"\b(?:as|under|to)\s+[`'\"]?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9](?:[\w.-]*\w)?)(?![\w/])", re.IGNORECASE
)
"""an order to push it to a hub, and the name there"""
PUBLIC = re.compile(r"(?<!not )\bpublic(?:ly)?\b", re.IGNORECASE)
FORMS = {"ollama": "ollama", "gguf": "gguf", "llama.cpp": "gguf", "vllm": "vllm", "merged": "merged",
         "safetensors": "merged"}  # fmt: skip
TRAINER = re.compile(r"\b(trl|axolotl|llama-?\s?factory|unsloth)\b", re.IGNORECASE)
WRITES = re.compile(
    r"\W*(?:(?:ok(?:ay)?|please|now|then|and|so|can you|could you|i (?:want|need)(?: you to)?|let'?s)\W+)*"
    r"(?:(?:write|make|create|give|generate|produce|export|plan|show)\b|(?:an?|the) )[^.?!]{0,60}"
    r"\b(?:config\w*|ya?ml|script|recipe|plan|set-?up)\b",
    re.IGNORECASE,
)
"""an order to write the plan as another trainer's configuration"""
OUTCOME = re.compile(
    r"\W*(?:(?:so|and|ok(?:ay)?|well|now|then)\W+)*(?:(?:did|does|has|was) (?:it|that|this|the \w+) "
    r"(?:really |actually )?(?:help|work|pay|improve|better|worth|finish|end|go well)|"
    r"how did (?:it|that|the \w+) (?:go|do|end)|"
    r"what (?:came out|is the (?:verdict|result)|was the result))",
    re.IGNORECASE,
)
"""a question for what the newest run found"""
WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


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
    if not now.question.strip() or GREETING.match(now.text):
        return []
    if now.resumes is not None:
        return [call("train", resume=now.resumes)] if now.resumes else [call("runs", action="list")]
    if now.ordered:
        return [call("plan", data=now.ordered)]
    if (trainer := handed(now)) and (rows := now.path or last_path(now.earlier)) and not is_log(rows):
        return [call("plan", data=rows, to=trainer, out=f"{Path(rows).stem}-{trainer}")]
    data = data_named(now.text, now.path)
    if data and not is_log(data) and orders_measurement(now.text):
        return [call("compare", data=data, **measured_args(now.text, data))]
    if now.path and FORMATS.match(now.text) and not now.text.rstrip().endswith("?") and not is_log(now.path):
        return [*looking_at(now.path), call("data_check", path=now.path), call("data_format", **formatted(now.path))]
    if delivered(now) or OUTCOME.match(now.text):
        return [call("runs", action="list")]
    if now.begins:
        return [call("decide", question=now.question), *looking_at(now.path)]
    if answers_questions(now):
        return [call("decide", **reply_args(now)), *looking_at(now.path)]
    if now.route.intent != "decide" and (chooses(now) or tells_a_task(now)):
        return [call("decide", question=now.question), *by_intent(now)]
    return by_intent(now)


def reply_args(now: Said) -> dict[str, Any]:
    """The arguments of a decision on a reply: the situation so far, the task as it was told, what had been asked."""
    known = {"situation": now.situation} if now.situation else {}
    return {"question": now.question, "task": task_told(now), "asked": questions_put(now), **known}


def by_intent(now: Said) -> list[ToolCall]:
    """The tools for each intent; a question of knowledge is looked up as well."""
    intent, path = now.route.intent, now.path
    plain = now.precise or (now.text.rstrip().endswith("?") and not CHOICE.search(now.text))
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
    if now.resumes is not None and now.result("train") is None and not now.result("plan"):
        return stopped_before(now)
    if now.ordered and now.succeeded("plan") and now.result("go") is None:
        task = {"task": now.route.task} if now.route.task else {}
        return [call("go", data=now.ordered, **task, **measured_args(now.text, now.ordered))]
    listed, form = now.result("runs"), delivered(now)
    if form and listed is not None and len(now.results) == 1:
        newest = newest_run(listed.artifact, trained=True)
        return (
            [call("export", run=newest, out=f"{Path(newest).name}-{form}", to=form, **pushed_as(now))] if newest else []
        )
    asked = OUTCOME.match(now.text) is not None
    if listed is not None and ((asked and len(now.results) == 1) or (
        now.route.intent == "evaluate" and len(now.results) == 2
    )):  # fmt: skip
        newest = newest_run(listed.artifact)
        return [call("runs", action="show", run=newest)] if newest else []
    return []


def stopped_before(now: Said) -> list[ToolCall]:
    """Go on with the newest run that was stopped; where there is none, with the file that was spoken of."""
    listed = now.result("runs")
    runs = ((listed.artifact if listed is not None else None) or {}).get("runs") or []
    stopped = next((run["name"] for run in runs if run.get("state") in RESUMABLE), None)
    if stopped:
        return [call("train", resume=stopped)]
    return [call("plan", data=now.ordered)] if now.ordered else []


def delivered(now: Said) -> str | None:
    """The form in which the words order the tuned model to be delivered; a question is answered instead."""
    if now.text.rstrip().endswith("?"):
        return None
    found = EXPORTS.match(now.text)
    return FORMS[found.group(1).lower()] if found else "hub" if pushed_as(now) else None


def pushed_as(now: Said) -> dict[str, Any]:
    """The name on the hub, where the words order a push; private unless they say public."""
    found = NAMED.search(now.text) if PUSHES.match(now.text) else None
    if found is None:
        return {}
    return {"repo": found["repo"]} | ({"public": True} if PUBLIC.search(now.text) else {})


def handed(now: Said) -> str | None:
    """The trainer for which the words order a configuration."""
    named = TRAINER.search(now.text)
    if named is None or not WRITES.match(now.text):
        return None
    return re.sub(r"[-\s]", "", named.group(1).lower())


def formatted(path: str) -> dict[str, Any]:
    """Chat rows beside the file, under its name."""
    file = Path(path)
    written = file.with_suffix(".jsonl")
    return {"path": path, "out": str(written if written != file else file.with_name(f"{file.stem}.chat.jsonl"))}


def is_log(path: str | None) -> TypeGuard[str]:
    """Whether the path is what `diagnose` reads: a log or a run's folder, not a data file."""
    return path is not None and (path.endswith((".log", ".txt")) or Path(path).is_dir())


def looking_at(path: str | None) -> list[ToolCall]:
    return [call("data_inspect", path=path)] if path else []


def look_up(now: Said) -> ToolCall:
    return call("look_up", question=now.searched, intent=now.route.intent)


def call(tool: str, **args: Any) -> ToolCall:
    return ToolCall(name=tool, args=args, id=f"call-{uuid4().hex[:12]}", type="tool_call")


def newest_run(artifact: Any, trained: bool = False) -> str | None:
    """The newest run in the result of `runs list`, which gives the newest first; `trained`: that trains a model."""
    runs = (artifact or {}).get("runs") or []
    if trained:  # a run's name tells its kind; an export of an export is none
        runs = [run for run in runs if re.search(r"-(go|train)-", str(run.get("name")))] or runs
    return str(runs[0].get("run") or runs[0].get("name")) if runs else None
