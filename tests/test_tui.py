"""The chat window, by its keys and by what it shows."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Markdown, ProgressBar, Static

from agent.events import ApprovalNeeded, Event, TextDelta, ToolFinished, ToolStarted, Turn, TurnDone
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.app import terminal_gone
from agent.tui.approval import QUIET_SECONDS, Approval
from agent.tui.fold import FoldTitle
from agent.tui.help import Help
from agent.tui.lines import Notice, UserMessage
from agent.tui.loss_plot import LossPlot
from agent.tui.prompt_box import PromptBox
from agent.tui.run_panel import RunPanel
from agent.tui.sources import Sources
from agent.tui.tool_card import ToolCard
from agent.tui.transcript import Transcript
from tools.base import UserError

SOURCE = {"id": "seed", "title": "The [b]seed[/b]", "url": None, "read_on": "2026-11-22"}
DONE = TurnDone(Turn("q", "offline", "other", "a", None, None, [SOURCE], []))
PLAN = "**Plan:** 3 epochs\n\n" + "- a reason\n" * 40
SIZES = [(80, 24), (160, 48)]


class Played(Session):
    """A session that plays prepared events and writes down what it was asked."""

    def __init__(self, *events: Event | Exception, after: tuple[Event, ...] = (DONE,)) -> None:
        super().__init__()
        self.events_to_play = events
        self.after = after
        self.sent: list[str] = []
        self.answers: list[bool] = []

    async def send(self, text: str, data: str | None = None) -> AsyncIterator[Event]:
        self.sent.append(text)
        for event in self.events_to_play:
            if isinstance(event, Exception):
                raise event
            yield event

    async def answer_approval(
        self, approve: bool, edited: dict[str, Any] | None = None, reason: str = ""
    ) -> AsyncIterator[Event]:
        self.answers.append(approve)
        for event in self.after:
            yield event

    async def history(self) -> list[tuple[str, str]]:
        return []


def no_run(run: str) -> dict[str, Any]:
    raise UserError("No such run", run, "Start one.")


def stop_nothing(run: str) -> str:
    return "stopped"


def started(tool: str = "look_up", **args: Any) -> ToolStarted:
    return ToolStarted("1", tool, args)


def finished(tool: str = "look_up", text: str = "found", ok: bool = True, artifact: Any = None) -> ToolFinished:
    return ToolFinished("1", tool, {}, ok, 0.2, text, artifact)


def app_of(session: Session, progress: Any = no_run) -> ChatApp:
    return ChatApp(session, progress, stop_nothing)


async def say(app: ChatApp, pilot: Any, text: str) -> None:
    await app.workers.wait_for_complete()
    app.query_one(PromptBox).insert(text)
    await pilot.press("enter")
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()
    if isinstance(app.screen, Approval):
        app.screen.last_key -= QUIET_SECONDS  # the person read it first


def shown(app: ChatApp, kind: type[Any] = Static) -> list[str]:
    return [str(widget.render()) for widget in app.screen.query(kind)]


def titles(app: ChatApp) -> list[str]:
    """The lines of the tool cards."""
    return [str(card.query_one(FoldTitle).render()) for card in app.query(ToolCard)]


def answers(app: ChatApp) -> list[str]:
    return [widget.source for widget in app.query_one(Transcript).query_children(Markdown)]


@pytest.mark.parametrize("size", SIZES)
async def test_a_question_brings_a_tool_card_and_an_answer(size: tuple[int, int]) -> None:
    session = Played(started(question="What?"), finished(), TextDelta("It is "), TextDelta("**so**."), DONE)
    app = app_of(session)
    async with app.run_test(size=size) as pilot:
        await say(app, pilot, "What is LoRA?")
        assert session.sent == ["What is LoRA?"]
        assert shown(app, UserMessage) == ["What is LoRA?"]
        assert answers(app)[-1] == "It is **so**."
        assert str(app.query_one(Sources).query_one(FoldTitle).render()) == "▸ Sources: seed"
        app.query_one(Sources).focus()
        await pilot.press("enter")
        assert "[seed] The [b]seed[/b], read 2026-11-22" in shown(app)
        title = titles(app)[0]
        assert "look_up" in title
        assert "●" in title
        card = app.query_one(ToolCard)
        assert not card.query_one(".result").display
        card.focus()
        await pilot.press("enter")
        assert card.query_one(".result").display
        assert card.query_one(".result", Markdown).source == "found"
        assert app.query_one(PromptBox).region.bottom <= size[1]
        assert app.query_one(PromptBox).text == ""


async def test_enter_sends_and_ctrl_j_makes_a_new_line() -> None:
    session = Played(DONE)
    app = app_of(session)
    async with app.run_test() as pilot:
        await pilot.press("a", "ctrl+j", "b")
        assert app.query_one(PromptBox).text == "a\nb"
        await say(app, pilot, "")
        assert session.sent == ["a\nb"]
        await pilot.press("enter")
        assert session.sent == ["a\nb"]


@pytest.mark.parametrize(("key", "approved"), [("y", True), ("n", False), ("escape", False), ("enter", False)])
async def test_the_approval_shows_plan_and_command_and_is_answered_by_key(key: str, approved: bool) -> None:
    asked = ApprovalNeeded("1", "go", {"data": "t.csv"}, "finetune go t.csv", PLAN)
    session = Played(asked, after=(TextDelta("Good."), DONE))
    app = app_of(session)
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "train")
        assert isinstance(app.screen, Approval)
        assert app.screen.query_one(Markdown).source == PLAN
        assert any("finetune go t.csv" in text for text in shown(app))
        assert app.screen.query_one("#approve").region.bottom <= 24
        await pilot.press(key)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert session.answers == [approved]
        assert answers(app)[-1] == "Good."


async def test_markup_in_any_text_is_shown_as_text() -> None:
    evil = "[red]x[/red] [@click=app.quit]y[/] [/nonsense]"
    asked = ApprovalNeeded("2", evil, {}, f"finetune {evil}", evil)
    session = Played(started(evil, question=evil), finished(evil, evil), TextDelta(evil), UserError(evil))
    app = app_of(session)
    async with app.run_test(size=(160, 40)) as pilot:
        await say(app, pilot, evil)
        assert shown(app, UserMessage) == [evil]
        assert evil in titles(app)[0]
        assert evil in shown(app, Notice)[0]
        app.push_screen(Approval(asked))
        await pilot.pause()
        assert any(f"$ finetune {evil}" in text for text in shown(app))


async def test_an_error_is_one_line_and_the_chat_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    session = Played(started(), UserError("No key", "openai:x", "Set OPENAI_API_KEY."))
    app = app_of(session)
    async with app.run_test() as pilot:
        await say(app, pilot, "hello")
        assert shown(app, Notice) == ["No key (openai:x). Set OPENAI_API_KEY."]
        assert "–" in titles(app)[0]
        session.events_to_play = (ZeroDivisionError("oh"),)
        await say(app, pilot, "again")
        assert "ZeroDivisionError" in shown(app, Notice)[-1]
        assert "Traceback" in (tmp_path / "chats" / "bugs.log").read_text()
        assert app.query_one(PromptBox).has_focus


def read_folder(run: str) -> dict[str, Any]:
    """As tools.runs.progress reads a run folder."""
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    status = json.loads((Path(run) / "status.json").read_text())
    return {
        "name": Path(run).name, "state": status["state"], "stage": "train", "reason": None, "result": None,
        "progress": {"done": len(rows), "total": 4, "unit": "steps"},
        "steps": [row["step"] for row in rows], "loss": [row["loss"] for row in rows],
        "eval_steps": [], "eval_loss": [],
    }  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_the_run_panel_draws_a_run_and_follows_it_to_its_end(size: tuple[int, int], tmp_path: Path) -> None:
    metrics, status = tmp_path / "metrics.jsonl", tmp_path / "status.json"
    metrics.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    status.write_text('{"state": "running"}')
    app = app_of(Played(started("go"), finished("go", artifact={"run": str(tmp_path)}), DONE), read_folder)
    async with app.run_test(size=size) as pilot:
        panel = app.query_one(RunPanel)
        assert not panel.display
        await say(app, pilot, "train")
        assert panel.display
        assert str(panel.query_one(".state").render()) == f"{tmp_path.name}  running · train"
        assert str(panel.query_one(".reason").render()) == "2 of 4 steps"
        assert panel.query_one(ProgressBar).percentage == 0.5
        assert "training loss" in str(panel.query_one(LossPlot).render())
        assert panel.query_one(LossPlot).region.height >= 5
        assert app.query_one(PromptBox).region.bottom <= size[1]
        status.write_text('{"state": "done"}')
        panel.look()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert panel.query_one(ProgressBar).percentage == 1
        await pilot.press("ctrl+r")
        assert not panel.display


async def test_an_unreadable_run_is_told_in_the_panel() -> None:
    app = app_of(Played(finished("go", artifact={"run": "/gone"}), DONE))
    async with app.run_test() as pilot:
        await say(app, pilot, "train")
        assert "No such run" in str(app.query_one(RunPanel).query_one(".reason").render())


def test_a_terminal_that_hung_up_ends_the_chat(tmp_path: Path) -> None:
    """Without a signal: its session is another one."""
    master, slave = pty.openpty()
    assert not terminal_gone(slave)
    environment = {**os.environ, "FINETUNE_HOME": str(tmp_path / "home"), "TERM": "xterm-256color"}
    chat = subprocess.Popen(
        [sys.executable, "-m", "agent", "--model", "offline"], stdin=slave, stdout=slave, stderr=slave,
        env=environment, start_new_session=True,
    )  # fmt: skip
    seen = b""
    while b"Fine-Tuning Assistant" not in seen:
        seen += os.read(master, 65536)
    os.close(master)
    assert terminal_gone(slave)
    os.close(slave)
    try:
        chat.wait(20)
    finally:
        chat.kill()


@pytest.mark.parametrize("key", ["f1", "question_mark"])
async def test_help_opens_and_closes(key: str) -> None:
    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        await pilot.press(key)
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


async def test_light_and_dark() -> None:
    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        dark = app.current_theme.dark
        await pilot.press("ctrl+t")
        assert app.current_theme.dark is not dark
