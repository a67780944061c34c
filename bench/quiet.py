"""Whether the machine is ours alone: other programs' share of it, before and during a measurement."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

import psutil

PERIOD = 2.0
QUIET = 0.1
"""cores that others may use"""


def cores_of_others(seconds: float) -> float:
    """Cores that processes other than this one and its descendants used for so long."""
    before = _times()
    time.sleep(seconds)
    after = _times()
    return sum(max(0.0, used - before.get(pid, used)) for pid, used in after.items()) / seconds


def _times() -> dict[int, float]:
    me = psutil.Process()
    mine = {me.pid, *(child.pid for child in me.children(recursive=True))}
    found = {}
    for process in psutil.process_iter():
        if process.pid not in mine:
            try:
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
            except psutil.Error:
                continue
    return found


def wait_for_quiet(most: float) -> None:
    """Wait until nobody else computes, at most so many seconds."""
    end, told = time.monotonic() + most, False
    while (used := cores_of_others(2 * PERIOD)) > QUIET and time.monotonic() < end:
        if not told:
            print(f"  others use {used:.1f} of {os.cpu_count()} cores: waiting ...", file=sys.stderr, flush=True)
            told = True


class Others(threading.Thread):
    """Samples what others use while its block runs; `mean` is in cores."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.samples.append(cores_of_others(PERIOD))

    @property
    def mean(self) -> float:
        return sum(self.samples) / len(self.samples) if self.samples else 0.0

    def __enter__(self) -> Others:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.join()
