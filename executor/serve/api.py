"""The HTTP side: OpenAI's models and chat completions, with a key where one is set. No torch in here."""

from __future__ import annotations

import hmac
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from executor.serve.request import ChatRequest, Piece, Refused, read_request

MOST_BYTES = 10 << 20
"""of a request"""


class Pieces(Protocol):
    """An answer as it is computed."""

    def __iter__(self) -> Iterator[Piece]: ...

    def stop(self) -> None:
        """Nobody waits for the rest."""


class Answerer(Protocol):
    """Whatever answers: its models' names, the default first, and one answer in pieces."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def answer(self, request: ChatRequest) -> Pieces:
        """Raises Refused for what the model cannot take."""


def application(answerer: Answerer, key: str | None) -> Starlette:
    """The ASGI application; without `key` everybody who reaches it is answered."""

    async def models(request: Request) -> Response:
        check_key(request, key)
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "local"} for name in answerer.names]
        return JSONResponse({"object": "list", "data": listed})

    async def chat(request: Request) -> Response:
        check_key(request, key)
        asked = read_request(await body_of(request))
        if asked.model not in answerer.names:
            what = f"There is no model {asked.model!r} here. Models: {', '.join(answerer.names)}."
            raise Refused(404, what, "model_not_found", "model")
        started = time.perf_counter()
        pieces = answerer.answer(asked)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
        told = followed(asked.model, started, pieces)
        if asked.stream:
            return Stream(pieces, chunks(head, told, asked))
        return JSONResponse(await whole(head, told))

    routes = [Route("/v1/models", models), Route("/v1/chat/completions", chat, methods=["POST"])]
    routes.append(Route("/health", health))
    return Starlette(routes=routes, exception_handlers={Refused: refused, 404: no_page, 405: no_page})


class Stream(StreamingResponse):
    """Ends the computation with the connection: a generator that nobody reads on would only know much later."""

    def __init__(self, pieces: Pieces, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.pieces.stop()


def check_key(request: Request, key: str | None) -> None:
    """Raises Refused for a wrong key."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if key and not hmac.compare_digest(given.encode(), key.encode()):
        raise Refused(401, "The key is wrong or missing.", "invalid_api_key")


async def body_of(request: Request) -> bytes:
    """Raises Refused where it is too long, or is not said to be JSON: a web page may send plain text to any server."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "Send the request as application/json.", "invalid_content_type")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refused(413, f"The request is longer than {MOST_BYTES} bytes.", "too_long")
    return body


async def followed(model: str, started: float, pieces: Pieces) -> AsyncIterator[Piece]:
    """The pieces as they come; a line on stderr at the end. A client that leaves ends the computation."""
    last = Piece("")
    try:
        async for last in iterate_in_threadpool(iter(pieces)):
            yield last
    finally:
        pieces.stop()
        took = f"{last.prompt_tokens} + {last.completion_tokens} tokens, {time.perf_counter() - started:.1f} s"
        sys.stderr.write(f"{model}: {took if last.reason else 'left before the end'}\n")


async def whole(head: dict[str, Any], pieces: AsyncIterator[Piece]) -> dict[str, Any]:
    text, last = "", Piece("")
    async for piece in pieces:
        text, last = text + piece.text, piece
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": last.reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage(last)}


async def chunks(head: dict[str, Any], pieces: AsyncIterator[Piece], asked: ChatRequest) -> AsyncIterator[str]:
    """Server-sent events as OpenAI sends them."""

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        value = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"

    yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    last = Piece("")
    async for last in pieces:
        if last.text:
            yield event([{"index": 0, "delta": {"content": last.text}, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": last.reason}])
    if asked.stream_options and asked.stream_options.include_usage:
        yield event([], usage=usage(last))
    yield "data: [DONE]\n\n"


def usage(last: Piece) -> dict[str, int]:
    total = last.prompt_tokens + last.completion_tokens
    return {"prompt_tokens": last.prompt_tokens, "completion_tokens": last.completion_tokens, "total_tokens": total}


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return JSONResponse(error.body, error.status)


async def no_page(request: Request, error: Exception) -> Response:
    found = Refused(404, "Not here: this server has /v1/models and /v1/chat/completions.", "not_found")
    return JSONResponse(found.body, found.status)
