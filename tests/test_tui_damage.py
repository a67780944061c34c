"""The chat window outlives damage: of run folders, of a missing terminal, of a turn that never ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_session import Scripted
from test_tui import DONE, Played, answers, app_of, finished, say, shown

from agent import chats
from agent.draft import STOPPED
from agent.events import TextDelta
from agent.session import Session
from agent.tui.lines import Notice, UserMessage
from agent.tui.prompt_box import PromptBox
from agent.tui.run_panel import RunPanel
from tools.base import workspace
from tools.runs import progress

DAMAGE = {
    "a line of metrics": (
        "metrics.jsonl",
        '{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n[3]\n{"step": "x", "loss": 1}\n',
    ),
    "no numbers": ("metrics.jsonl", '{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity, "eval_loss": "x"}\n'),
    "a status that is a list": ("status.json", "[1]"),
    "a status without a state": ("status.json", '{"pid": 1}'),
    "a status of other kinds": ("status.json", '{"state": "running", "pid": "x", "progress": 3, "stage": [1]}'),
    "an empty status": ("status.json", ""),
    "a result that is a list": ("result.json", "[1]"),
    "a result that is cut": ("result.json", '{"verdict": "sh'),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_run_folder_ends_neither_the_window_nor_the_list(damage: str) -> None:
    folder = workspace() / "runs" / "20260101-000000-go-x"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text('{"state": "stopped"}')
    name, text = DAMAGE[damage]
    (folder / name).write_text(text)
    app = app_of(Played(finished("go", artifact={"run": str(folder)}), DONE), progress)
    async with app.run_test() as pilot:
        await say(app, pilot, "train")
        await say(app, pilot, "/runs")
        panel = app.query_one(RunPanel)
        assert folder.name in str(panel.query_one(".state").render())
        assert panel.state in ("stopped", "failed")
        assert folder.name in shown(app, Notice)[-1]


async def test_a_run_whose_reading_fails_is_told_and_written_down() -> None:
    def broken(run: str) -> dict[str, Any]:
        raise ZeroDivisionError("oh")

    app = app_of(Played(finished("go", artifact={"run": "/r"}), DONE), broken)
    async with app.run_test() as pilot:
        await say(app, pilot, "train")
        assert "ZeroDivisionError" in str(app.query_one(RunPanel).query_one(".reason").render())
    assert "Traceback" in (workspace() / "chats" / "bugs.log").read_text()


def test_without_a_terminal_the_chat_says_so_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent"]
    environment = {**os.environ, "FINETUNE_HOME": str(tmp_path)}
    for stdin in (subprocess.DEVNULL, subprocess.PIPE):
        done = subprocess.run(
            command, stdin=stdin if stdin != subprocess.PIPE else None, capture_output=True, text=True, timeout=30,
            env=environment, check=False, input="hello" if stdin == subprocess.PIPE else None,
        )  # fmt: skip
        assert done.returncode == 3
        assert done.stderr.startswith("finetune: The chat needs a terminal")
        assert done.stdout == ""


class Slow(Played):
    """Reads its past slowly."""

    def __init__(self, *events: Any) -> None:
        super().__init__(*events)
        self.read = asyncio.Event()

    async def history(self) -> list[tuple[str, str]]:
        await self.read.wait()
        return [("user", "before"), ("advisor", "answered")]


async def test_a_question_that_comes_before_the_past_was_read_stands_below_it() -> None:
    session = Slow(TextDelta("now"), DONE)
    app = app_of(session)
    async with app.run_test() as pilot:
        app.query_one(PromptBox).insert("early")
        await pilot.press("enter")
        await pilot.pause()
        assert shown(app, UserMessage) == ["early"]
        assert session.sent == []
        session.read.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.pause()
        assert shown(app, UserMessage) == ["before", "early"]
        assert answers(app) == ["answered", "now"]


async def test_a_question_outlives_a_window_that_closes_before_its_answer() -> None:
    class Silent(Scripted):
        async def _agenerate(self, *_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()

    app = app_of(Session(chat="kept", mind=Silent(script=[], heard=[])))
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        app.query_one(PromptBox).insert("Why is my loss nan?")
        await pilot.press("enter")
        while not chats.read("kept"):
            await pilot.pause(0.05)
    stopped = [("user", "Why is my loss nan?"), ("advisor", STOPPED)]
    assert chats.read("kept") == stopped
    chats.keep("kept", "And now?", None)
    assert chats.read("kept") == [*stopped, ("user", "And now?"), ("advisor", chats.NOT_YET)]
    chats.keep("kept", "And then?", "The rate.")
    assert chats.read("kept")[3:] == [("advisor", chats.UNANSWERED), ("user", "And then?"), ("advisor", "The rate.")]
    chats.keep("kept", "And now?", "Now, too.")
    assert chats.read("kept")[3] == ("advisor", "Now, too.")
