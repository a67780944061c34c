"""`make bench-tui`: how soon the chat is there, and how soon a key shows, with a long chat loaded while a run trains.

In a terminal of its own (a pseudo-terminal): from the start of the process to the first paint, and from a key written
to the terminal until its letter comes back.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from quiet import Others, wait_for_quiet

LINES = 10_000
KEYS = [chr(0x410 + place) for place in range(64)]
"""Cyrillic letters: nothing else on the screen brings one, each comes once"""
TITLE = b"Fine-Tuning Assistant"
SIZE = (40, 140)


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.started = time.perf_counter()
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder, start_new_session=True
        )
        os.close(slave)

    def until(self, wanted: bytes, seconds: float = 30.0) -> float:
        """Seconds until the screen got `wanted`."""
        begin, seen = time.perf_counter(), b""
        while time.perf_counter() - begin < seconds:
            if select.select([self.master], [], [], 0.05)[0]:
                seen += os.read(self.master, 65536)
                if wanted in seen:
                    return time.perf_counter() - begin
        raise SystemExit(f"the terminal never showed {wanted!r}")

    def settle(self, seconds: float = 0.3) -> None:
        """Read until nothing comes any more, three seconds at most: a bar may move all the time."""
        begin = quiet_since = time.perf_counter()
        while time.perf_counter() - quiet_since < seconds and time.perf_counter() - begin < 3:
            if select.select([self.master], [], [], 0.05)[0]:
                os.read(self.master, 65536)
                quiet_since = time.perf_counter()

    def press(self, key: str) -> float:
        """Seconds from a key to its letter on the screen."""
        os.write(self.master, key.encode())
        return self.until(key.encode(), 5.0)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        os.close(self.master)


def long_chat(home: Path) -> None:
    """A saved chat of so many lines, questions and answers of ten lines each."""
    os.environ["FINETUNE_HOME"] = str(home)
    from agent import chats

    answer = "\n".join(f"- line {n} of an answer with some **words** in it [seed]" for n in range(9))
    for number in range(LINES // 10):
        chats.keep("long", f"question {number}?", answer)


def wait_for_steps(home: Path) -> None:
    """Until the run trains."""
    file = next((home / "runs").iterdir()) / "metrics.jsonl"
    end = time.perf_counter() + 120
    while time.perf_counter() < end:
        if file.exists() and '"loss"' in file.read_text():
            return
        time.sleep(0.5)
    raise SystemExit("the run never trained")


def main() -> int:
    wait_for_quiet(120)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long_chat(folder / "home")
        environment = {**os.environ, "FINETUNE_HOME": str(folder / "home"), "TERM": "xterm-256color"}
        finetune = [sys.executable, "-m", "agent"]
        first = []
        with Others() as others:
            for _ in range(5):
                terminal = Terminal([*finetune, "--chat", "new"], environment, folder)
                terminal.until(TITLE)
                first.append(time.perf_counter() - terminal.started)
                terminal.settle()
                terminal.close()
        print(f"first paint: median {statistics.median(first):.2f} s of {len(first)} starts (limit 1.20); "
              f"others used {others.mean:.2f} cores")  # fmt: skip
        example = Path(__file__).resolve().parents[1] / "examples" / "support_tickets.csv"
        train = subprocess.Popen(
            [*finetune, "train", str(example), "--detach"], env=environment, cwd=folder, stdout=subprocess.DEVNULL
        )
        train.wait()
        terminal = Terminal([*finetune, "--chat", "long"], environment, folder)
        terminal.until(TITLE)
        terminal.settle(2.0)
        wait_for_steps(folder / "home")
        os.write(terminal.master, b"/run")
        terminal.settle()
        os.write(terminal.master, b"\r")
        terminal.settle(1.0)
        took = []
        for key in KEYS:
            took.append(terminal.press(key))
            time.sleep(0.05)
        terminal.close()
        subprocess.run([*finetune, "runs", "stop"], env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    worst = sorted(took)[int(0.95 * len(took))]
    print(f"key to paint while a run trains, {LINES:,} lines of chat: median {1000 * statistics.median(took):.0f} ms, "
          f"95 % {1000 * worst:.0f} ms, of {len(took)} keys (limit 100 at the median)")  # fmt: skip
    return 0 if statistics.median(first) < 1.2 and statistics.median(took) < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
