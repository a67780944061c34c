"""A model in llama.cpp behind our own server: the same checks, the same greedy default, one line to wait in."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from executor.errors import ServiceError
from executor.serve.request import ChatRequest, Piece, Refused
from executor.serve.worker import Emit

SECONDS = 600.0


class Relay:
    """Passes checked requests on to the server at `url` (ending in /v1), which answers to `key` alone."""

    def __init__(self, name: str, url: str, key: str) -> None:
        self.names = (name,)
        self.url, self.key = url, key

    def prepare(self, request: ChatRequest) -> dict[str, Any]:
        """The body for llama.cpp."""
        chosen = {"top_p": request.top_p, "seed": request.seed, "tools": request.offered, "stop": list(request.stops)}
        return {
            "model": self.names[0], "messages": request.messages, "max_tokens": request.limit, "stream": True,
            "temperature": request.temperature or 0, "stream_options": {"include_usage": True},
            **{name: value for name, value in chosen.items() if value},
        }  # fmt: skip

    def answer(self, request: ChatRequest, body: dict[str, Any], emit: Emit, stop: threading.Event) -> None:
        """Leaving the connection ends the computation there."""
        reason, counts = "stop", {"prompt_tokens": 0, "completion_tokens": 0}
        for event in self.events(body):
            counts = event.get("usage") or counts
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or {}
                reason = choice.get("finish_reason") or reason
                if delta.get("content") or delta.get("tool_calls"):
                    emit(Piece(delta.get("content") or "", calls=tuple(delta.get("tool_calls") or ())))
            if stop.is_set():
                return
        emit(Piece("", reason, int(counts["prompt_tokens"]), int(counts["completion_tokens"])))

    def events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Raises Refused for what llama.cpp refuses, ServiceError where it fails."""
        head = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        sent = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), head)  # noqa: S310
        try:
            with urllib.request.urlopen(sent, timeout=SECONDS) as answer:  # noqa: S310 (our own address)
                for line in answer:
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise ServiceError(f"llama.cpp failed ({error.code})", self.url, "Ask again.") from None
            raise Refused(error.code, said_by(error), "invalid_request") from None
        except (OSError, ValueError) as error:
            raise ServiceError(f"llama.cpp does not answer: {error}", self.url, "Ask again.") from None


def said_by(error: urllib.error.HTTPError) -> str:
    """Its message in one line."""
    try:
        told = json.loads(error.read())["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        told = f"llama.cpp refuses the request ({error.code})."
    return " ".join(str(told).split())[:300]
