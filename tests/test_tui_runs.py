"""The run beside the chat: found whoever started it, followed, and told in little room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_tui import DONE, Played, finished, read_folder, say
from test_tui_approval import settle

from agent.session import Session
from agent.tui import ChatApp
from agent.tui.loss_plot import LossPlot
from agent.tui.run_panel import SELDOM, RunPanel, figures
from agent.tui.transcript import Transcript
from executor.run_folder import RunFolder
from tools.base import workspace
from tools.runs import going


def run_in(folder: Path, state: str) -> RunFolder:
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    (folder / "status.json").write_text(f'{{"state": "{state}"}}')
    return run


def told(app: ChatApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def beside(session: Session, find: Callable[[], str | None], stopped: list[str]) -> ChatApp:
    """A window in whose workspace `find` finds the run that is going on."""

    def stop(run: str) -> str:
        stopped.append(run)
        return "stopped"

    return ChatApp(session, read_folder, stop, going=find)


async def test_a_chat_that_is_opened_again_shows_the_run_that_goes_on(tmp_path: Path) -> None:
    class Past(Played):
        async def history(self) -> list[tuple[str, str]]:
            return [("user", "train"), ("advisor", "It runs.")]

    run_in(tmp_path / "one", "running")
    app = beside(Past(DONE), lambda: str(tmp_path / "one"), [])
    async with app.run_test() as pilot:
        await settle(app, pilot)
        await settle(app, pilot)
        panel = app.query_one(RunPanel)
        assert panel.display
        assert panel.state == "running"


async def test_a_run_of_another_window_is_shown_before_it_is_stopped(tmp_path: Path) -> None:
    run_in(tmp_path / "one", "running")
    stopped: list[str] = []
    app = beside(Played(DONE), lambda: str(tmp_path / "one"), stopped)
    async with app.run_test() as pilot:
        await settle(app, pilot)
        panel = app.query_one(RunPanel)
        assert not panel.display
        await pilot.press("f8")
        await settle(app, pilot)
        await settle(app, pilot)
        assert panel.display
        assert stopped == []
        assert "one is going on. F8 again stops it" in told(app)[-1]
        await pilot.press("f8")
        await settle(app, pilot)
        assert stopped == [str(tmp_path / "one")]


async def test_the_key_of_the_run_finds_one_and_says_where_there_is_none(tmp_path: Path) -> None:
    found: list[str | None] = [None]
    app = beside(Played(DONE), lambda: found[0], [])
    async with app.run_test() as pilot:
        await settle(app, pilot)
        panel = app.query_one(RunPanel)
        for key, words in (("ctrl+r", "No run yet"), ("f8", "No run is going on")):
            await pilot.press(key)
            await settle(app, pilot)
            assert words in told(app)[-1]
        assert not panel.display
        run_in(tmp_path / "old", "stopped")
        run_in(tmp_path / "new", "running")
        panel.watch_run(str(tmp_path / "old"))
        await settle(app, pilot)
        await pilot.press("ctrl+r")
        assert not panel.display
        await pilot.press("ctrl+r")
        await settle(app, pilot)
        assert panel.display
        assert panel.run == str(tmp_path / "old")
        await pilot.press("ctrl+r")
        found[0] = str(tmp_path / "new")
        await pilot.press("ctrl+r")
        await settle(app, pilot)
        await settle(app, pilot)
        assert panel.run == found[0]


async def test_a_stopped_run_that_is_resumed_elsewhere_goes_on_in_the_panel(tmp_path: Path) -> None:
    run_in(tmp_path / "one", "stopped")
    app = beside(Played(finished("go", artifact={"run": str(tmp_path / "one")}), DONE), lambda: None, [])
    async with app.run_test() as pilot:
        await say(app, pilot, "train")
        panel = app.query_one(RunPanel)
        assert panel.over
        (tmp_path / "one" / "status.json").write_text('{"state": "running"}')
        for _ in range(SELDOM):
            panel.tick()
        await settle(app, pilot)
        assert not panel.over
        assert "running" in str(panel.query_one(".state").render())
        assert panel.query_one("#stop-run").display


def test_the_run_that_goes_on_is_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    assert going() is None
    for name, state in (("20260101-a", "running"), ("20260102-b", "running"), ("20260103-c", "stopped")):
        run = run_in(workspace() / "runs" / name, "stopped")
        run.set_status(state, pid=os.getpid())  # type: ignore[arg-type]
    assert going() == str(workspace() / "runs" / "20260102-b")


async def test_a_small_window_leaves_the_talk_more_room_than_the_curve(tmp_path: Path) -> None:
    run_in(tmp_path / "one", "running")
    app = beside(Played(finished("go", artifact={"run": str(tmp_path / "one")}), DONE), lambda: None, [])
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "train")
        assert app.query_one(Transcript).region.height >= 7
        assert app.query_one(LossPlot).region.height >= 5
        await pilot.resize_terminal(80, 48)
        await pilot.pause()
        assert app.query_one(LossPlot).region.height == 8


@pytest.mark.parametrize(("seconds", "left"), [(20.0, "20 s"), (400.0, "7 min"), (40_000.0, "11.1 h")])
def test_the_time_left_is_told_as_everywhere(seconds: float, left: str) -> None:
    progress = {
        "steps": [1, 2], "loss": [2.0, 1.0], "eval_loss": [], "state": "running", "stage": "train",
        "seconds": seconds, "progress": {"done": 2, "total": 4, "unit": "steps"},
    }  # fmt: skip
    assert figures(progress) == f"loss 1.000 · about {left} left"
