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
from concurrent.futures import Future
from contextlib import suppress
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
NAME = "beside"
GRACE_SECONDS = 1.0
"""for what is about to end: a run that is being launched, a file that is being renamed"""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, or what it raised. Who is cancelled stops waiting; the function goes on."""
    done: Future[T] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name=NAME, daemon=True).start()
    return await asyncio.wrap_future(done)


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
