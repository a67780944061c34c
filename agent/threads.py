"""Work beside the event loop that never holds the program up: a thread that still works at its end is left behind.

`asyncio.to_thread` has threads that are joined at exit: a tool that works for minutes would keep the terminal so long.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
NAME = "beside"
GRACE_SECONDS = 1.0
"""for what is about to end: a run that is being launched, a file that is being renamed"""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, or what it raised. Who is cancelled stops waiting; the function goes on."""
    context = contextvars.copy_context()
    return await asyncio.wrap_future(begin(lambda: context.run(function, *args, **kwargs)))


def begin(function: Callable[[], T]) -> Future[T]:
    """The function in a thread of its own, which nobody joins."""
    done: Future[T] = Future()

    def work() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(function())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name=NAME, daemon=True).start()
    return done


class Beside(ThreadPoolExecutor):
    """For an event loop: what it runs in threads (a window's workers, too) does not hold its end up."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return begin(lambda: fn(*args, **kwargs))


def leave(code: int) -> NoReturn:
    """End the program. Where threads still work it ends at once: native code of theirs may not outlive Python."""
    with suppress(KeyboardInterrupt):
        end = time.monotonic() + GRACE_SECONDS
        while (working := at_work()) and time.monotonic() < end:
            working[0].join(end - time.monotonic())
    if not at_work():
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def at_work() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]
