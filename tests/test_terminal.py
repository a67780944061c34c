"""The whole way in a real terminal: keys in, screen out, by tmux. The job is a process of its own on a tiny model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import write_examples

from agent.tui.approval import QUIET_SECONDS
from executor.files import read_json

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
PAUSE = threading.Event()
"""never set: to wait a moment for another process"""


class Terminal:
    """A program under tmux, on a server of its own."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.tmux = ["tmux", "-S", str(folder / "tmux"), "-f", os.devnull]
        self.folder = folder
        self.seen: list[str] = []
        root = str(Path(__file__).parents[1])
        given = {"PYTHONPATH": root, "FINETUNE_HOME": str(folder / "home"), "FINETUNE_CACHE": str(folder / "cache"),
                 "HF_HUB_OFFLINE": "1", "TERM": "screen-256color", "LANG": "C.UTF-8"}  # fmt: skip
        words = [part for key, value in given.items() for part in ("-e", f"{key}={value}")]
        command = f"{sys.executable} -m agent --model offline --chat terminal"
        self.run("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-c", str(folder), *words, command)

    def run(self, *words: str) -> str:
        plain = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "TMUX")}
        command = [*self.tmux, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, env=plain)
        return done.stdout

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def wait(self, holds: Callable[[str], bool], what: str, seconds: float = 60.0) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds(screen := self.screen()):
                self.seen.append(screen)
                return screen
            PAUSE.wait(0.05)
        raise AssertionError(f"{what}\n{self.screen()}")

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def say(self, text: str, answer: str) -> str:
        """Send a message, and wait for an answer that holds these words."""
        self.type(text)
        self.wait(lambda screen: text in flat(screen), f"{text} is not in the box")
        self.press("Enter")
        return self.wait(
            lambda screen: answer in flat(screen) and "Thinking" not in screen, f"no {answer!r} after {text!r}"
        )

    def decide(self, key: str) -> None:
        """Answer a question that came just now: at once the key would count as still typed."""
        PAUSE.wait(QUIET_SECONDS + 0.3)
        self.press(key)


def flat(screen: str) -> str:
    """The screen as one line, without frames."""
    return " ".join(screen.replace("│", " ").replace("█", " ").split())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    write_examples(tmp_path / "things.csv")
    opened = Terminal(tmp_path, (110, 32))
    yield opened
    opened.run("kill-server")


def test_from_should_i_to_did_it_help(terminal: Terminal, tiny_model: Path) -> None:
    terminal.wait(lambda screen: "Should I fine-tune" in screen, "no welcome")
    terminal.say("Should I fine-tune for colour naming?", "To go on, tell me")
    terminal.say("800 examples, GPT gets 70 %, need 85", "Sources: seed, bucher-martini-2024, house")
    terminal.say("/situation", "examples: 800")
    terminal.say("no, 80 examples", "Sources: seed, house-judgement")
    terminal.say("/situation", "examples: 80 ")
    terminal.say("format ./things.csv", "60 rows of shape table")
    assert (terminal.folder / "things.jsonl").is_file()
    terminal.type("train it")
    terminal.press("Enter")
    terminal.wait(lambda screen: "May I run go?" in screen, "no approval")
    terminal.decide("e")
    terminal.wait(lambda screen: "Take it" in screen, "no editor")
    terminal.type(f"base_model: {tiny_model}")
    terminal.press("C-s")
    terminal.wait(lambda screen: "--base-model" in screen, "the change was not taken")
    terminal.decide("y")
    terminal.wait(lambda screen: "Started run" in screen, "nothing was started")
    status = next((terminal.folder / "home" / "runs").iterdir()) / "status.json"
    terminal.wait(lambda _: read_json(status)["state"] == "done", "the run never ended", 120)
    terminal.wait(lambda screen: "verdict:" in flat(screen), "the panel does not show the end")
    terminal.say("did it help?", "fine_tuned:")
    terminal.type("export it for Ollama")
    terminal.press("Enter")
    terminal.wait(lambda screen: "May I run export?" in screen and "--to ollama" in flat(screen), "no approval")
    terminal.decide("n")
    terminal.wait(lambda screen: "I did not start" in screen, "the refusal is not told")
    terminal.run("resize-window", "-x", "80", "-y", "24")
    terminal.wait(lambda screen: len(screen.splitlines()[0].rstrip()) <= 80 and "^q" in screen, "lost in the resize")
    terminal.type("/quit")
    terminal.press("Enter")
    terminal.wait(lambda screen: not screen.strip(), "it does not end", 20)
