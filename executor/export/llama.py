"""A GGUF file behind a llama.cpp server of its own process (xllamacpp), on loopback, until the block ends."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.errors import ServiceError
from executor.serve.launch import Serving, Target

SECONDS = 600.0


@dataclass(frozen=True)
class Llama:
    address: str
    key: str

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 (our own address)
            self.address + path,
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", "authorization": f"Bearer {self.key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError) as error:
            raise ServiceError(
                f"llama.cpp does not answer: {error}", path, "Try again, or export --to merged."
            ) from error

    def prompt_ids(self, messages: list[dict[str, Any]], tools: list[Any] | None = None) -> list[int]:
        """The tokens that it makes of a conversation: its own template and tokenizer, as its chat endpoint does."""
        prompt = self.post("/apply-template", {"messages": messages} | ({"tools": tools} if tools else {}))["prompt"]
        found: list[int] = self.post(
            "/tokenize", {"content": prompt, "add_special": True, "parse_special": True}
        )["tokens"]  # fmt: skip
        return found

    def complete(self, prompt: list[int], limit: int) -> tuple[str, bool]:
        """(greedy answer, whether it ended by itself) after the tokens of a prompt."""
        body = {"prompt": prompt, "temperature": 0, "top_k": 1, "n_predict": limit, "cache_prompt": True}
        found = self.post("/completion", body)
        return found["content"].strip(), found["stop_type"] == "eos"

    def answer(self, messages: list[dict[str, Any]], limit: int) -> tuple[str, bool, int]:
        """(greedy answer, whether it ended by itself, tokens of its prompt) by the chat endpoint, as users ask it."""
        body = {
            "model": "m",
            "messages": messages,
            "temperature": 0,
            "top_k": 1,
            "max_tokens": limit,
            "cache_prompt": True,
        }
        found = self.post("/v1/chat/completions", body)
        choice = found["choices"][0]
        text = (choice["message"].get("content") or "").strip()
        return text, choice["finish_reason"] == "stop", int(found["usage"]["prompt_tokens"])


@contextmanager
def served(file: Path, context: int, threads: int) -> Iterator[Llama]:
    """Raises UserError where xllamacpp is not installed, ServiceError where it cannot load the file."""
    key = secrets.token_hex(16)  # it offers more than answers: no web page may have it meanwhile
    serving = Serving(Target("llama", str(file), "m", "", "", "127.0.0.1", context=context, threads=threads), key)
    try:
        yield Llama(serving.url.removesuffix("/v1"), key)
    finally:
        serving.close()
