"""The HTTP side: OpenAI's models and chat completions, with a key where one is set. No torch in here."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from executor.serve.request import Piece, Refused, read_request
from executor.serve.worker import Answerer, Asked, Worker
from executor.servers import LOOPBACK

MOST_BYTES = 10 << 20
"""of a request"""


def application(answerer: Answerer, key: str | None) -> Starlette:
    """The ASGI application; without `key` whoever reaches it on this machine is answered."""
    worker = Worker(answerer)

    async def models(request: Request) -> Response:
        allow(request, key)
        return JSONResponse({"object": "list", "data": [described(name) for name in answerer.names]})

    async def model(request: Request) -> Response:
        allow(request, key)
        return JSONResponse(described(known(request.path_params["name"], answerer.names)))

    async def chat(request: Request) -> Response:
        allow(request, key)
        asked_for = read_request(await body_of(request))
        known(asked_for.model, answerer.names)
        asked = worker.ask(asked_for)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked_for.model}
        told = followed(asked)
        try:
            first = await unless_left(request, anext(told))
            if asked_for.stream:
                return Stream(asked, chunks(head, first, told, asked))
            return JSONResponse(await unless_left(request, whole(head, first, told)))
        except BaseException as error:
            asked.stop.set()
            if isinstance(error, Exception) and not isinstance(error, Refused | Left):
                raise failure(error) from error
            raise

    routes = [
        Route("/v1/models", models), Route("/v1/models/{name:path}", model),
        Route("/v1/chat/completions", chat, methods=["POST"]), Route("/health", health),
    ]  # fmt: skip
    handlers: Any = {Refused: refused, Left: left, 404: no_page, 405: no_page}
    return Starlette(routes=routes, exception_handlers=handlers)


class Left(Exception):  # noqa: N818
    """The client is gone."""


async def unless_left(request: Request, work: Awaitable[Any]) -> Any:
    """The result of `work`. Raises Left where the client goes away before: nobody then waits for the model."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # the body was read: what comes next is the end
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Left
        return await working
    finally:
        working.cancel()
        leaving.cancel()


class Stream(StreamingResponse):
    """Ends the computation with the connection: a generator that nobody reads on would only know much later."""

    def __init__(self, asked: Asked, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.asked.stop.set()


def allow(request: Request, key: str | None) -> None:
    """Raises Refused for a wrong key; without a key for a name that is not this machine's, as a web page may bring."""
    if key is None:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if host not in LOOPBACK:
            raise Refused(403, f"{host} is not this machine.", "wrong_host")
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise Refused(401, "The key is wrong or missing.", "invalid_api_key")


def known(name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        what = f"There is no model {name!r} here. Models: {', '.join(names)}."
        raise Refused(404, what, "model_not_found", "model")
    return name


def described(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "local"}


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


async def followed(asked: Asked) -> AsyncIterator[Piece]:
    """The pieces as they come; a line on stderr at the end."""
    last, started = Piece(""), time.perf_counter()
    try:
        async for last in asked.pieces():
            yield last
    finally:
        asked.stop.set()
        took = f"{last.prompt_tokens} + {last.completion_tokens} tokens, {time.perf_counter() - started:.1f} s"
        sys.stderr.write(f"{asked.request.model}: {took if last.reason else 'left before the end'}\n")


async def whole(head: dict[str, Any], first: Piece, rest: AsyncIterator[Piece]) -> dict[str, Any]:
    text, last, calls = first.text, first, list(first.calls)
    async for last in rest:
        text += last.text
        calls += last.calls
    message = {"role": "assistant", "content": text} | ({"tool_calls": joined(calls)} if calls else {})
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": last.reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage(last)}


def joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Streamed parts of tool calls as whole ones: a name once, arguments piece by piece."""
    calls: dict[int, dict[str, Any]] = {}
    for part in parts:
        call = calls.setdefault(part.get("index", 0), {"type": "function", "function": {"name": "", "arguments": ""}})
        call |= {"id": part["id"]} if part.get("id") else {}
        function = part.get("function") or {}
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        call["function"]["arguments"] += function.get("arguments") or ""
    return [calls[place] for place in sorted(calls)]


async def chunks(head: dict[str, Any], first: Piece, rest: AsyncIterator[Piece], asked: Asked) -> AsyncIterator[str]:
    """Server-sent events as OpenAI sends them; what breaks off says so."""

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return line({**head, "object": "chat.completion.chunk", "choices": choices, **more})

    def delta(change: dict[str, Any], reason: str | None = None) -> str:
        return event([{"index": 0, "delta": change, "finish_reason": reason}])

    def shown(piece: Piece) -> str:
        said = {"content": piece.text} if piece.text else {}
        return delta(said | ({"tool_calls": list(piece.calls)} if piece.calls else {})) if said or piece.calls else ""

    yield delta({"role": "assistant", "content": ""})
    yield shown(first)
    last = first
    try:
        async for last in rest:
            yield shown(last)
    except Exception as error:
        yield line(failure(error).body)
        return
    yield delta({}, last.reason)
    options = asked.request.stream_options
    if options and options.include_usage:
        yield event([], usage=usage(last))
    yield "data: [DONE]\n\n"


def line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def usage(last: Piece) -> dict[str, int]:
    total = last.prompt_tokens + last.completion_tokens
    return {"prompt_tokens": last.prompt_tokens, "completion_tokens": last.completion_tokens, "total_tokens": total}


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def failure(error: Exception) -> Refused:
    """An error as what the client is told; what it was stands on stderr."""
    if isinstance(error, Refused):
        return error
    sys.stderr.write(f"An answer failed: {error!r}\n")
    return Refused(500, "The model failed on this request; the server's messages say more.", "server_error")


async def refused(request: Request, error: Exception) -> Response:
    found = failure(error)
    return JSONResponse(found.body, found.status)


async def left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def no_page(request: Request, error: Exception) -> Response:
    found = Refused(404, "Not here: this server has /v1/models and /v1/chat/completions.", "not_found")
    return JSONResponse(found.body, found.status)
