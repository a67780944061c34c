"""Questions to an OpenAI-compatible server, by the openai SDK; answers that came are kept if the run is stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import openai

from executor.data.structure import plain_text
from executor.errors import ServiceError, UserError
from executor.evaluate.ask import Messages, Reply
from executor.evaluate.wire import messages_to_send, tools_to_send
from executor.files import append_jsonl, read_jsonl, write_jsonl
from executor.servers import refuse_in_clear
from executor.spec import EndpointSpec

AT_ONCE = 4
"""requests under way together"""
SECONDS = 120.0
PATIENCE = 0.5
"""seconds between two looks at whether the user asked to stop"""
RETRIES = 4
"""of the SDK, with growing pauses: connection faults, 408, 409, 429 and 5xx"""
THINKING = 8192
"""tokens more for a model that spends its answer on reasoning, which no server tells beforehand"""
NO_KEY = "none"
"""what a server that asks for no key is sent"""


class Endpoint:
    """One model on one server. Temperature 0; a server that refuses an option is asked without it."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        refuse_in_clear(spec.url, spec.key)
        key = (os.environ.get(spec.key) if spec.key else None) or NO_KEY
        no_one: Any = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        self.client = openai.OpenAI(
            base_url=spec.url, api_key=key, timeout=SECONDS, max_retries=RETRIES, default_headers=no_one
        )
        self.length, self.temperature, self.thinking = "max_tokens", True, 0

    def answers(
        self,
        asked: Sequence[Messages],
        limit: int,
        kept: Path,
        report: Callable[[int], None],
        tools: Sequence[Any] | None = None,
    ) -> list[Reply]:
        """The replies in the order given. `kept` gathers them as they come; those it holds are not asked again.

        `report` gets how many there are, twice a second at least; what it raises ends the asking. Raises UserError for
        a wrong key or model, ServiceError where the server fails.
        """
        lines = [line for line in (read_jsonl(kept) if kept.exists() else []) if line["row"] < len(asked)]
        found = {line["row"]: Reply(**line["reply"]) for line in lines}
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(kept, lines)  # without the half line that a crash left, which would spoil the next one
        given = tools or [None] * len(asked)
        left = [row for row in range(len(asked)) if row not in found]
        for row, reply in at_once(left, lambda row: self.answer(asked[row], limit, given[row])):
            if reply is not None:
                found[row] = reply
                append_jsonl(kept, {"row": row, "reply": vars(reply)})
            report(len(found))
        return [found[row] for row in range(len(asked))]

    def answer(self, messages: Messages, limit: int, tools: Any = None) -> Reply:
        started = time.perf_counter()
        sent, offered = messages_to_send(messages), tools_to_send(tools)
        response = self.request(sent, limit + self.thinking, offered)
        if not self.thinking and ended_early(response) and not text_of(response):
            try:
                response = self.request(sent, limit + THINKING, offered)
                self.thinking = THINKING
            except UserError:  # more than the model holds: it keeps what it said
                pass
        usage = response.usage
        seconds = time.perf_counter() - started
        prompt, output = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        return Reply(text_of(response), prompt, output, seconds, cut=ended_early(response))

    def request(self, messages: Any, limit: int, tools: Any) -> Any:
        options: dict[str, Any] = {self.length: limit}
        options |= ({"temperature": 0} if self.temperature else {}) | ({"tools": tools} if tools else {})
        try:
            made = self.client.chat.completions.create(model=self.spec.model, messages=messages, **options)
            return self.checked(made)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if "max_tokens" in options and "max_tokens" in str(error):
                self.length = "max_completion_tokens"
            elif "temperature" in options and "temperature" in str(error):
                self.temperature = False
            else:
                raise self.refused(error) from None
            return self.request(messages, limit, tools)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            key = f"Set {self.spec.key} to a key of this server." if self.spec.key else "Name its key with --key-env."
            raise UserError(f"The server refuses the key ({error.status_code})", self.spec.url, key) from None
        except openai.NotFoundError as error:
            raise self.refused(error) from None
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            fix = "Check that it runs and is reached; the answers so far are kept: resume the run."
            raise ServiceError(f"The server does not answer: {plainly(error)}", self.spec.url, fix) from None

    def checked(self, response: Any) -> Any:
        """The response, if it is one. Raises ServiceError for a page, an error, or anything else."""
        choices = getattr(response, "choices", None)
        if isinstance(choices, list) and choices and getattr(choices[0], "message", None) is not None:
            return response
        said = getattr(response, "error", None) or type(response).__name__
        fix = "Check the URL: it usually ends in /v1."
        raise ServiceError(f"What the server sends is no chat answer: {plainly(said)}", self.spec.url, fix)

    def refused(self, error: openai.APIStatusError) -> UserError:
        what = f"The server refuses the request ({error.status_code}): {plainly(error)}"
        return UserError(what, self.spec.url, f'Check the model name "{self.spec.model}" and the URL.')


def at_once(rows: Sequence[int], ask: Callable[[int], Reply]) -> Iterator[tuple[int, Reply | None]]:
    """(row, its reply) as they come, and (-1, None) whenever nothing came for a while.

    The threads are daemons: a stop does not wait for a server that is silent. What `ask` raises is raised here.
    """
    waiting, came = SimpleQueue[int](), SimpleQueue[tuple[int, Reply | Exception]]()
    for row in rows:
        waiting.put(row)

    def work() -> None:
        while True:
            try:
                row = waiting.get_nowait()
            except Empty:
                return
            try:
                came.put((row, ask(row)))
            except Exception as error:  # told by whoever waits
                came.put((row, error))

    for _ in range(min(AT_ONCE, len(rows))):
        Thread(target=work, daemon=True).start()
    left = len(rows)
    try:
        while left:
            try:
                row, reply = came.get(timeout=PATIENCE)
            except Empty:
                yield -1, None
                continue
            if isinstance(reply, Exception):
                raise reply
            left -= 1
            yield row, reply
    finally:
        with suppress(Empty):  # nobody waits any more: ask nothing further
            while True:
                waiting.get_nowait()


def ended_early(response: Any) -> bool:
    return bool(response.choices[0].finish_reason == "length")


def text_of(response: Any) -> str:
    """What was answered: the text, else the tool calls as JSON; empty where there is neither."""
    message = response.choices[0].message
    said = message.content
    text = (said if isinstance(said, str) else plain_text(said)).strip()
    if text or not message.tool_calls:
        return text.encode("utf-8", "replace").decode()  # half an emoji is no text that a file takes
    return json.dumps([call.model_dump() for call in message.tool_calls], ensure_ascii=False, sort_keys=True)


def plainly(error: object) -> str:
    """An error as one short line; what a server says is shown, never more."""
    return " ".join(str(error).split())[:200]
