"""A server that speaks the OpenAI chat API over real HTTP, for the mind: streaming, tool calls, and faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loopback import Quiet, listening


@dataclass(frozen=True)
class Say:
    """An answer in words, streamed a word at a time."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call of a tool, its arguments streamed in pieces."""

    tool: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Status:
    """An error before anything is streamed."""

    code: int
    message: str


@dataclass(frozen=True)
class Broken:
    """Some words, and then what is no chunk; or nothing any more."""

    text: str
    then: str = "data: {not json\n\n"
    """empty: the connection is cut"""


@dataclass(frozen=True)
class Hang:
    """Nothing for so many seconds."""

    seconds: float


Step = Say | Call | Status | Broken | Hang


@dataclass
class Mind:
    """Says its script, a step for each request; the last one again when it is over."""

    script: list[Step]
    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self, request: dict[str, Any]) -> Step:
        self.asked.append(request)
        return self.script[min(len(self.asked), len(self.script)) - 1]


@contextmanager
def thinking(*script: Step) -> Iterator[Mind]:
    """The server on loopback until the block ends."""
    mind = Mind(list(script))

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def post(self, request: dict[str, Any], key: str) -> None:
            mind.keys.add(key)
            step = mind.next(request)
            if isinstance(step, Status):
                self.answer(step.code, json.dumps({"error": {"message": step.message, "type": "x"}}).encode())
                return
            if isinstance(step, Hang):
                time.sleep(step.seconds)
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            for piece in pieces(step):
                self.wfile.write(piece.encode())
                self.wfile.flush()

    with listening(Handler) as mind.port:
        yield mind


def pieces(step: Say | Call | Broken) -> Iterator[str]:
    """Server-sent events."""
    if isinstance(step, Call):
        function = {"name": step.tool, "arguments": ""}
        call = {"index": 0, "id": f"call_{step.tool}", "type": "function", "function": function}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        arguments = json.dumps(step.args)
        for start in range(0, len(arguments), 7):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 7]}}]})
        yield chunk({}, "tool_calls")
    else:
        yield chunk({"role": "assistant", "content": ""})
        for word in step.text.split(" "):
            yield chunk({"content": f"{word} "})
        if isinstance(step, Broken):
            yield step.then
            return
        yield chunk({}, "stop")
    yield "data: [DONE]\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"
