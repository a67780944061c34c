"""One answer after the other, in one thread; each goes to its reader piece by piece."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from executor.serve.request import ChatRequest, Piece, Refused

MOST_WAITING = 64
"""requests in the line; more are told to come back"""
Emit = Callable[[Piece], None]


class Answerer(Protocol):
    """Whatever answers: its models' names, the default first, and one answer in pieces."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def prepare(self, request: ChatRequest) -> Any:
        """What `answer` needs of the request. Quick. Raises Refused for what the model cannot take."""

    def answer(self, request: ChatRequest, prepared: Any, emit: Emit, stop: threading.Event) -> None:
        """Give the answer to `emit`, the last piece with its reason. Ends early where `stop` is set."""


class Asked:
    """A request in the line, and its answer as it comes."""

    def __init__(self, request: ChatRequest, prepared: Any) -> None:
        self.request, self.prepared = request, prepared
        self.loop = asyncio.get_running_loop()
        self.came: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        self.stop = threading.Event()
        """nobody waits for it any more"""

    def put(self, item: Piece | Exception | None) -> None:
        """From the worker's thread."""
        with suppress(RuntimeError):  # the server has ended
            self.loop.call_soon_threadsafe(self.came.put_nowait, item)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Raises what ended the answer."""
        while (item := await self.came.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


class Worker:
    """Takes requests in the order in which they came."""

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.line: SimpleQueue[Asked] = SimpleQueue()
        threading.Thread(target=self.work, daemon=True).start()

    def ask(self, request: ChatRequest) -> Asked:
        """In the event loop. Raises Refused where the line is full, or the model cannot take the request."""
        if self.line.qsize() >= MOST_WAITING:
            raise Refused(429, f"{MOST_WAITING} requests are waiting already. Try again.", "busy")
        asked = Asked(request, self.answerer.prepare(request))
        self.line.put(asked)
        return asked

    def work(self) -> None:
        while True:
            asked = self.line.get()
            if asked.stop.is_set():
                continue
            try:
                self.answerer.answer(asked.request, asked.prepared, asked.put, asked.stop)
            except Exception as error:  # told where the answer is read
                asked.put(error)
            asked.put(None)
