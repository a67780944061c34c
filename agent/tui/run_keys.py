"""The run beside the chat: shown, found where another window or the shell started it, stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.app import App
from textual.widgets import Button

from agent.events import ToolFinished
from agent.tui.bugs import bug_line
from agent.tui.messages import RunFound
from agent.tui.run_panel import RunPanel
from tools.base import FinetuneError

Stop = Callable[[str], str]
Going = Callable[[], str | None]
"""the newest run that is going on, whoever started it"""


class RunKeys(App[None]):
    """What Ctrl+R, F8 and the panel's button do."""

    stop: Stop
    going: Going

    def show_run(self, event: ToolFinished) -> None:
        """A tool that started or showed a run opens the panel on it."""
        run = (event.artifact or {}).get("run")
        if isinstance(run, dict):
            run = run.get("path")
        if event.ok and isinstance(run, str):
            self.query_one(RunPanel).watch_run(run)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "stop-run":
            self.action_stop_run()

    def action_toggle_run(self) -> None:
        panel = self.query_one(RunPanel)
        if panel.has_class("-hidden") and panel.over:
            self.find_run("show")
        else:
            panel.toggle_class("-hidden")

    def action_stop_run(self) -> None:
        panel = self.query_one(RunPanel)
        if panel.run is None or panel.over:
            self.find_run("stop")
        else:
            self.notify("Stopping the run; it saves a checkpoint first.", markup=False)
            self.stop_run(panel.run)

    @work(thread=True, group="find")
    def find_run(self, wanted: str) -> None:
        """A run may have been started, or resumed, before this window or beside it."""
        try:
            self.post_message(RunFound(self.going(), wanted))
        except Exception as error:
            self.call_from_thread(self.notify, bug_line(error), markup=False)

    def on_run_found(self, message: RunFound) -> None:
        """Show it. What was not on the screen is not stopped by the same key that brought it there."""
        panel, run = self.query_one(RunPanel), message.run
        if run is None and message.wanted == "stop":
            self.notify("No run is going on.", markup=False)
        elif run is None and message.wanted == "show":
            if panel.run is None:
                self.notify("No run yet. Ask me to train, or to show a run.", markup=False)
            else:
                panel.remove_class("-hidden")
        elif run is not None:
            if panel.over:
                panel.watch_run(run)
            if message.wanted == "stop":
                told = f"{Path(run).name} is going on. F8 again stops it; it saves a checkpoint first."
                self.notify(told, markup=False)

    @work(thread=True, group="stop")
    def stop_run(self, run: str) -> None:
        try:
            said = self.stop(run)
        except FinetuneError as error:
            said = error.line()
        self.call_from_thread(self.notify, said, markup=False)
