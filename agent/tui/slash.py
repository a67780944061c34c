"""What each slash command does. Slow work runs in workers; results come as notices in the transcript."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen

from agent import chats
from agent.settings import checked, settings_file
from agent.tui.bugs import bug_line
from agent.tui.chat_list import ChatList
from agent.tui.commands import COMMANDS, known
from agent.tui.run_panel import RunPanel
from agent.tui.transcript import Transcript
from agent.tui.trial import TryScreen
from tools.base import FinetuneError, UsageError, UserError, write_text

if TYPE_CHECKING:
    from agent.tui.app import ChatApp


class Slash(App[None]):
    """The commands as methods `slash_NAME(argument)`; the command palette lists the same."""

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        if screen.is_modal:  # what waits for an answer is answered first
            return
        for each in COMMANDS:
            if each.argument in ("", "[RUN]", "[WORDS]", "[PROVIDER:NAME]"):
                title = each.name.capitalize()
                yield SystemCommand(f"{title}: {each.does}", each.usage, lambda name=each.name: self.slash(name, ""))

    def slash(self, name: str, argument: str) -> None:
        if not known(name):
            self.say(f"There is no command /{name}. {', '.join('/' + each.name for each in COMMANDS)}", error=True)
            return
        getattr(self, f"slash_{name}")(argument)

    def say(self, text: str, *, error: bool = False) -> None:
        """A line of the window itself in the transcript."""
        self.call_later(self.query_one(Transcript).notice, text, error=error)

    @property
    def chat(self) -> ChatApp:
        return self  # type: ignore[return-value]

    def slash_help(self, argument: str) -> None:
        self.chat.action_help()

    @work
    async def slash_situation(self, argument: str) -> None:
        try:
            found = await self.chat.session.situation()
        except FinetuneError as error:
            self.say(error.line(), error=True)
            return
        named = {key.replace("_", " "): value for key, value in found.items()}
        shown = yaml.safe_dump(named, sort_keys=False, allow_unicode=True).strip()
        self.say(f"What I understood so far; correct it in your own words:\n{shown}" if found else "Nothing yet.")

    def slash_model(self, argument: str) -> None:
        if not argument:
            where = f" at {self.chat.session.base_url}" if self.chat.session.base_url else ""
            self.say(f"{self.chat.session.model}{where} answers. Another mind: /model openai:NAME, or /model offline.")
            return
        try:
            checked({"model": argument, "base_url": self.chat.session.base_url}, settings_file())
        except UserError as error:
            self.say(error.line(), error=True)
            return
        self.chat.open_chat(self.chat.session.chat, argument)

    def slash_chats(self, argument: str) -> None:
        self.push_screen(ChatList(chats.saved, argument), self.chat.resume)

    def slash_new(self, argument: str) -> None:
        self.chat.open_chat(f"chat-{datetime.now():%Y%m%d-%H%M%S}", self.chat.session.model)

    @work(thread=True)
    def slash_runs(self, argument: str) -> None:
        from tools import TOOLS

        tool: Any = next(tool for tool in TOOLS if tool.name == "runs")
        try:
            self.call_from_thread(self.say, tool.call(action="list").text())
        except FinetuneError as error:
            self.call_from_thread(self.say, error.line(), error=True)
        except Exception as error:
            self.call_from_thread(self.say, bug_line(error), error=True)

    def slash_run(self, argument: str) -> None:
        from tools.runs import chosen

        try:
            self.query_one(RunPanel).watch_run(str(chosen(argument).path))
        except FinetuneError as error:
            self.say(error.line(), error=True)

    def slash_try(self, argument: str) -> None:
        from tools.serving import Trial, newest_tuned

        try:
            self.push_screen(TryScreen(argument or newest_tuned(), Trial))
        except FinetuneError as error:
            self.say(error.line(), error=True)

    async def resume_run(self, argument: str) -> None:
        from tools.runs import resumable

        try:
            await self.chat.send(f"Resume the run {resumable(argument).name}")
        except FinetuneError as error:
            self.say(error.line(), error=True)

    def slash_resume(self, argument: str) -> None:
        """In words to the mind, which asks for approval as for any other training."""
        self.call_later(self.resume_run, argument)

    def slash_stop(self, argument: str) -> None:
        self.chat.action_stop_run()

    def slash_review(self, argument: str) -> None:
        """The review has a window of its own; this one waits behind it."""
        from tools.sample import Review

        if not argument:
            self.say("Name a sample: /review sample.jsonl (data sample makes one).", error=True)
            return
        try:
            Review(Path(argument).expanduser())
        except FinetuneError as error:
            self.say(error.line(), error=True)
            return
        command = [sys.executable, "-m", "agent", "data", "review", argument]
        with self.suspend():
            done = subprocess.run(command, check=False)
        self.refresh()
        self.say(f"The review of {argument} ended." if done.returncode == 0 else f"{argument} could not be reviewed.")

    def slash_copy(self, argument: str) -> None:
        text = self.query_one(Transcript).last_answer
        if text:
            self.copy_to_clipboard(text)
        self.notify("Copied." if text else "There is no answer yet.", markup=False)

    @work
    async def slash_save(self, argument: str) -> None:
        try:
            self.say(f"Wrote {await asyncio.to_thread(save, await self.chat.session.history(), argument)}.")
        except FinetuneError as error:
            self.say(error.line(), error=True)

    def slash_theme(self, argument: str) -> None:
        if not argument:
            self.search_themes()
        elif argument in self.available_themes:
            self.theme = argument
        else:
            self.say(f"There is no theme {argument}. {', '.join(sorted(self.available_themes))}", error=True)

    def slash_quit(self, argument: str) -> None:
        self.exit()


def save(said: Iterable[tuple[str, str]], name: str) -> Path:
    """The chat as Markdown. Raises UsageError without a name, UserError where the file is there already."""
    if not name:
        raise UsageError("The file has no name", "/save", "Write /save chat.md.")
    file = Path(name).expanduser().absolute()
    if file.exists():
        raise UserError(f"{file.name} is there already", str(file), "Give another name.")
    parts = ["> " + text.replace("\n", "\n> ") if who == "user" else text for who, text in said]
    write_text(file, "\n\n".join(parts) + "\n")
    return file
