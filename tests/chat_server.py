"""A server that speaks the OpenAI chat API over real HTTP, for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from conftest import KINDS
from loopback import Quiet, listening

from executor.evaluate.judge import RULES


@dataclass
class Server:
    """Answers with the kind of the word in the question; `faults` are what it says first: (status, body)."""

    port: int = 0
    faults: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    always: tuple[int, dict[str, Any]] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(request)
        if self.faults:
            return self.faults.pop(0)
        if self.always:
            return self.always
        text = request["messages"][-1]["content"]
        if request["messages"][0]["content"] == RULES:
            return 200, self.reply(self.opinion(text))
        kind = next((kind for kind, words in KINDS.items() if any(word in text.split() for word in words)), "none")
        return 200, self.reply(kind)

    def opinion(self, text: str) -> str:
        """The answer that is the reference; the first one where both or neither are, as judges do."""
        reference, first, second = (part.strip() for part in re.findall(r"<<<(.*?)>>>", text, re.DOTALL)[1:])
        return "SECOND" if second == reference != first else "FIRST"

    def reply(self, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }


@contextmanager
def serving() -> Iterator[Server]:
    """A server on loopback until the block ends."""
    state = Server()

    class Handler(Quiet):
        def post(self, request: dict[str, Any], key: str) -> None:
            state.keys.add(key)
            status, body = state.answer(request)
            self.answer(status, json.dumps(body).encode())

    with listening(Handler) as state.port:
        yield state
