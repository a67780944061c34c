"""A picture of every screen, in a small and a large terminal. `pytest --snapshot-update` draws them anew."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from test_tui import DONE, Played, app_of, finished, no_run, say, started, stop_nothing
from test_tui_review import sample_of
from textual.app import App

from agent import chats
from agent.events import ApprovalNeeded, TextDelta
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.prompt_box import PromptBox
from agent.tui.review import ReviewApp
from agent.tui.trial import TryScreen
from tools.sample import Review

SIZES = [(80, 24), (140, 40)]
Before = Callable[[Any], Awaitable[None]]
ANSWER = "**Few-shot first.** It reaches what you need [seed].\n\n| system | score |\n|---|---|\n| few-shot | 87 % |\n"
PLAN = "**Plan.** 303 training rows, LoRA r=16, 114 steps.\n\nTraining takes about 2 min (75 s to 4 min) and 1.4 GiB.\n"
ASKED = ApprovalNeeded(
    "1", "go", {"data": "tickets.csv", "target": 0.85}, "finetune go tickets.csv --target 0.85", PLAN
)
RUN = {
    "name": "20261128-go-tickets", "state": "running", "stage": "train", "reason": None, "result": None,
    "seconds": 57.0, "progress": {"done": 57, "total": 114, "unit": "steps"},
    "steps": list(range(1, 58)), "loss": [2.5 / (1 + step / 8) for step in range(57)],
    "eval_steps": [0, 20, 40], "eval_loss": [2.4, 1.1, 0.7],
}  # fmt: skip
"""Half way: the bar rounds to half a cell only where it was laid out already, a race that a half does not show."""


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that blinks, and the one terminal."""
    monkeypatch.setattr("textual.widgets.TextArea.cursor_blink", False)
    monkeypatch.setattr("textual.widgets.Input.cursor_blink", False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def chat(*events: Any) -> ChatApp:
    return app_of(Played(*events), lambda run: RUN)


def asking(text: str, *keys: str) -> Before:
    async def before(pilot: Any) -> None:
        await say(pilot.app, pilot, text)
        await pilot.press(*keys)
        await pilot.pause()

    return before


async def writing(pilot: Any) -> None:
    await pilot.app.workers.wait_for_complete()
    pilot.app.query_one(PromptBox).insert("Should I f")
    await pilot.pause()


async def nothing(pilot: Any) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def listing(pilot: Any) -> None:
    await nothing(pilot)
    await pilot.press("ctrl+o")
    await nothing(pilot)


def with_chats() -> ChatApp:
    for name, question in (("one", "Should I fine-tune for ticket triage?"), ("two", "My loss is [b]nan[/b]")):
        chats.keep(name, question, "An answer.")
        os.utime(chats.file_of(name), (1_795_000_000, 1_795_000_000))
    return ChatApp(Session(), no_run, stop_nothing)


class Pair:
    """A tuned model and its base."""

    models = ("base", "20261128-go-tickets")
    note = ""

    def ask(self, model: str, turns: Any) -> Any:
        yield "I would be glad to help with your card." if model == "base" else "card_arrival"

    def close(self) -> None: ...


async def trying(pilot: Any) -> None:
    await nothing(pilot)
    pilot.app.push_screen(TryScreen("20261128-go-tickets", lambda run: Pair()))
    await nothing(pilot)
    await pilot.pause()
    await pilot.press(*"Where is my card?", "enter")
    await nothing(pilot)
    await pilot.pause()


CHATS: list[tuple[str, Callable[[], App[Any]], Before]] = [
    ("welcome", lambda: chat(DONE), writing),
    ("answer", lambda: chat(started(question="What?"), finished(), TextDelta(ANSWER), DONE), asking("What now?")),
    (
        "error",
        lambda: chat(finished(ok=False, text="No such file (x.csv)."), TextDelta("I could not."), DONE),
        asking("x"),
    ),
    ("approval", lambda: chat(ASKED), asking("train it")),
    ("approval_edit", lambda: chat(ASKED), asking("train it", "e")),
    ("run", lambda: chat(finished("go", artifact={"run": "/r"}), TextDelta("It runs."), DONE), asking("train it")),
    ("help", lambda: chat(DONE), asking("/help")),
    ("chats", with_chats, listing),
    ("try", lambda: chat(DONE), trying),
    ("palette", lambda: chat(DONE), asking("hello", "ctrl+p")),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("name", "app", "before"), CHATS, ids=[name for name, _, _ in CHATS])
def test_the_chat_looks_as_it_did(
    name: str, app: Callable[[], App[Any]], before: Before, size: tuple[int, int], snap_compare: Any
) -> None:
    assert snap_compare(app(), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [(), ("e",), ("m",), ("question_mark",)], ids=["row", "edit", "note", "help"])
def test_the_review_looks_as_it_did(
    tmp_path: Path, keys: tuple[str, ...], size: tuple[int, int], snap_compare: Any
) -> None:
    async def before(pilot: Any) -> None:
        await pilot.press("n", *keys)
        await pilot.pause()

    app = ReviewApp(Review(sample_of(tmp_path)))
    assert snap_compare(app, terminal_size=size, run_before=before)
