"""A run as it goes: state, stage, progress, loss. It only reads the run's folder, so closing it stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Button, ProgressBar, Static

from agent.tui.bugs import bug_line
from agent.tui.loss_plot import LossPlot
from agent.tui.messages import RunProgress, RunUnreadable
from tools.base import FinetuneError
from tools.planned import duration

POLL_SECONDS = 1.0
SELDOM = 10
"""of so many looks one is taken where the run is over, and may be resumed from elsewhere, or the panel is hidden"""
OVER = ("done", "failed", "stopped", "paused", "unreadable")

Progress = Callable[[str], dict[str, Any]]


class RunPanel(Vertical):
    """Hidden until `watch` names a run."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(classes="-hidden")
        self.progress = progress
        self.run: str | None = None
        self.state = ""
        self.timer: Timer | None = None
        self.ticks = 0

    def compose(self) -> ComposeResult:
        with Horizontal(classes="first"):
            yield Static(markup=False, classes="state")
            yield Button("Stop (F8)", id="stop-run", compact=True)
        yield ProgressBar(show_eta=False, show_percentage=False)
        yield Static(markup=False, classes="figures")
        yield Static(markup=False, classes="reason")
        yield LossPlot(classes="-empty")

    def on_mount(self) -> None:
        self.timer = self.set_interval(POLL_SECONDS, self.tick, pause=True)

    def watch_run(self, run: str) -> None:
        """Show this run from now on."""
        self.run, self.state = run, ""
        self.remove_class("-hidden")
        if self.timer is not None:
            self.timer.resume()
        self.look()

    @property
    def over(self) -> bool:
        """Whether there is nothing to stop."""
        return self.run is None or self.state in OVER

    def tick(self) -> None:
        self.ticks += 1
        if (self.display and not self.over) or self.ticks % SELDOM == 0:
            self.look()

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        if self.run is None:
            return
        try:
            self.post_message(RunProgress(self.progress(self.run)))
        except FinetuneError as error:
            self.post_message(RunUnreadable(error.line()))
        except Exception as error:
            self.post_message(RunUnreadable(bug_line(error), bug=True))

    def on_run_progress(self, message: RunProgress) -> None:
        progress = message.progress
        self.state = progress["state"]
        stage = f" · {progress['stage']}" if progress["stage"] else ""
        self.query_one(".state", Static).update(f"{progress['name']}  {self.state}{stage}")
        self.query_one(".reason", Static).update(outcome(progress))
        bar, steps = self.query_one(ProgressBar), progress["progress"]
        if self.state == "done":
            bar.update(total=1, progress=1)
        else:
            bar.update(total=steps["total"] if steps else None, progress=steps["done"] if steps else 0)
        self.query_one(".figures", Static).update(figures(progress))
        self.query_one("#stop-run").display = self.state == "running"
        self.query_one(LossPlot).draw(progress)

    def on_run_unreadable(self, message: RunUnreadable) -> None:
        self.state = "unreadable"
        self.query_one(".reason", Static).update(message.line)
        if message.bug and self.timer is not None:
            self.timer.pause()


def figures(progress: dict[str, Any]) -> str:
    """The last losses, and the time that the rest of the training will take at the pace so far."""
    if not progress["steps"]:
        return ""
    parts = [f"loss {progress['loss'][-1]:.3f}"]
    if progress["eval_loss"]:
        parts.append(f"validation {progress['eval_loss'][-1]:.3f}")
    now, step, seconds = progress["progress"] or {}, progress["steps"][-1], progress.get("seconds")
    if (
        progress["state"] == "running"
        and progress["stage"] == "train"
        and now.get("unit") == "steps"
        and seconds
        and step
    ):
        left = (now["total"] - step) * seconds / step
        parts.append(f"about {duration(left)} left")
    return " · ".join(parts)


def outcome(progress: dict[str, Any]) -> str:
    """How far the stage is, or how the run ended."""
    result, steps = progress["result"] or {}, progress["progress"]
    if result.get("verdict"):
        return f"verdict: {result['verdict']}"
    if progress["reason"]:
        return str(progress["reason"])
    return f"{steps['done']} of {steps['total']} {steps['unit']}" if steps else ""
