"""What is piped or redirected into a command, read to its end; a pipe that was only left open is not waited for."""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from agent.output import note

PATIENCE = 0.3
"""seconds of silence after which it is looked up who could still write, and told that somebody is waited for"""
LONGEST = 60.0
"""seconds of silence that are waited for where it cannot be told whether anything is meant to come"""
HALF = 1_000_000
"""bytes kept of the beginning, and as many of the end: a log says what went wrong in its last lines"""
WAITING = "Waiting for the end of what is piped in; Ctrl-C stops."
NOTHING = "Nothing came through the pipe that stands open on stdin: answered without it (`</dev/null` leaves it out)."
SILENT = "The pipe on stdin fell silent without an end: answered with what came."
_BLOCK = 1 << 16

Writer = Literal["above", "beside", "unseen"]


def piped() -> str:
    """What was piped or redirected into this command; empty at a terminal, or where nothing comes.

    A pipeline is read to its end, however late that is. Whatever is not waited for is told on stderr.
    """
    try:
        stdin = sys.stdin.fileno()
        kind = os.fstat(stdin).st_mode
    except (OSError, ValueError, AttributeError):
        return ""
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)):
        return ""
    kept = Ends()
    for part in _arriving(stdin):
        kept.add(part)
    return kept.text()


def _arriving(stdin: int) -> Iterator[bytes]:
    """All that comes until the end, or until it is no longer waited for."""
    came = told = False
    while True:
        if not _ready(stdin, PATIENCE):
            limit = _patience(writer(stdin), came)
            if limit != 0 and not told:
                note(WAITING)
                told = True
            if limit == 0 or not _ready(stdin, limit):
                note(SILENT if came else NOTHING)
                return
        part = os.read(stdin, _BLOCK)
        if not part:
            return
        came = True
        yield part


def _ready(stdin: int, seconds: float | None) -> bool:
    return bool(select.select([stdin], [], [], seconds)[0])


def _patience(who: Writer, came: bool) -> float | None:
    """Seconds; None: without end, as every program in a pipeline waits."""
    if who == "beside":
        return None
    return 0 if who == "above" and not came else LONGEST


def writer(stdin: int) -> Writer:
    """Who holds the other end: a process `beside` this one, as in `a | b`, or one `above`, which started this one.

    Programs that start others often leave a pipe open that they never write to. A shell never holds the pipes of its
    pipelines. Only Linux tells; a socket's other end is always taken for one above (Node's pipes and those of ssh are
    sockets).
    """
    try:
        pipe = os.readlink(f"/proc/self/fd/{stdin}")
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return "above" if stat.S_ISSOCK(os.fstat(stdin).st_mode) else "unseen"
    above = list(_line_of_descent())
    if pipe.startswith("socket:") or any(_writes(process, pipe) for process in above):
        return "above"
    return "beside" if any(_writes(process, pipe) for process in everyone if process not in above) else "unseen"


def _line_of_descent() -> Iterator[int]:
    """This process, the one that started it, and so on."""
    process = os.getpid()
    while process:
        yield process
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        process = int(fields[1])


def _writes(process: int, pipe: str) -> bool:
    """Whether the process holds an end of the pipe that can be written to; of another user's processes none is seen."""
    try:
        held = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return False
    for each in held:
        try:
            if os.readlink(f"/proc/{process}/fd/{each}") != pipe:
                continue
            flags = re.search(r"flags:\s*([0-7]+)", Path(f"/proc/{process}/fdinfo/{each}").read_text())
        except OSError:
            continue
        if flags and int(flags[1], 8) & (os.O_WRONLY | os.O_RDWR):
            return True
    return False


class Ends:
    """The beginning and the end of bytes that come one after another; what is between them is counted, not kept."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail = bytearray()
        self.dropped = 0

    def add(self, part: bytes) -> None:
        room = HALF - len(self.head)
        self.head += part[:room]
        self.tail += part[room:]
        if len(self.tail) > 2 * HALF:  # seldom, since each cut moves what is kept
            self._cut(len(self.tail) - HALF)

    def _cut(self, size: int) -> None:
        del self.tail[:size]
        self.dropped += size

    def text(self) -> str:
        """All of it, or both ends in whole lines with a line between them that says how much was left out."""
        if len(self.tail) > HALF:
            self._cut(len(self.tail) - HALF)
        if not self.dropped:
            return (self.head + self.tail).decode("utf-8", "replace")
        end = self.head.rfind(b"\n") + 1 or len(self.head)
        begin = self.tail.find(b"\n") + 1
        between = f"[... {self.dropped + len(self.head) - end + begin:,} bytes left out ...]\n"
        ends = [part.decode("utf-8", "replace") for part in (self.head[:end], self.tail[begin:])]
        return f"{ends[0]}{'' if ends[0].endswith(chr(10)) else chr(10)}{between}{ends[1]}"
