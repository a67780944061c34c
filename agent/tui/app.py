"""The chat window: a transcript, a prompt, and the run that is going on."""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Footer, Static, TextArea

from agent.draft import STOPPED
from agent.events import Again, ApprovalNeeded, Event, TextDelta, ToolFinished, ToolStarted, TurnDone
from agent.session import Session
from agent.settings import Settings
from agent.threads import Beside
from agent.tui.approval import Answered, Approval
from agent.tui.bugs import bug_line
from agent.tui.commands import hints, parse
from agent.tui.fold import Fold
from agent.tui.help import Help
from agent.tui.messages import HistoryRead, SessionEvent, TurnFailed, TurnOver, Typed, Waits
from agent.tui.prompt_box import SCROLL, PromptBox
from agent.tui.run_keys import Going, RunKeys, Stop
from agent.tui.run_panel import Progress, RunPanel
from agent.tui.slash import Slash
from agent.tui.transcript import Transcript
from tools.base import FinetuneError, UserError

GONE_SECONDS = 1.0
THINKING = "Thinking … Esc stops"
KEYRING = "Waiting for the system's keyring …"

Make = Callable[[str | None, str], Session]
"""(name of the chat, model) -> a session"""


class ChatApp(RunKeys, Slash):
    """Workers drive the session and post messages; only message handlers touch widgets."""

    TITLE = "Fine-Tuning Assistant"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 (an instance variable in App)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help"),
        Binding("escape", "stop_answer", "Stop"),
        Binding("ctrl+r", "toggle_run", "Run", priority=True),
        Binding("f8", "stop_run", "Stop run", show=False),
        Binding("ctrl+t", "light_or_dark", "Light/dark", show=False),
        Binding("ctrl+o", "chats", "Chats"),
        Binding("ctrl+q", "quit", "Quit", priority=True),
        *SCROLL,
    ]

    def __init__(
        self, session: Session, progress: Progress, stop: Stop, make: Make | None = None, going: Going = lambda: None
    ) -> None:
        super().__init__()
        self.session = session
        self.make = make or (
            lambda chat, model: Session(model, session.base_url, chat, timeout=session.timeout, key_env=session.key_env)
        )
        self.progress = progress
        self.stop = stop
        self.going = going
        self.busy = False
        self.waits = ""
        """what the session waits for before it can think"""
        self.recalled = asyncio.Event()
        """set once the chat's past was read: a turn that began before would stand in it"""

    def compose(self) -> ComposeResult:
        yield Static(self.heading, markup=False, id="title")
        with Container(id="middle"):
            yield Transcript()
            yield RunPanel(self.progress)
        yield Static(markup=False, id="working")
        yield Static(markup=False, id="hints")
        yield PromptBox()
        yield Footer()

    @property
    def heading(self) -> str:
        chat = f" · {self.session.chat}" if self.session.chat else ""
        return f"{self.TITLE} · {self.session.model}{chat}"

    def on_mount(self) -> None:
        asyncio.get_running_loop().set_default_executor(Beside())
        self.query_one(PromptBox).focus()
        if not self.is_headless and sys.stdin.isatty():
            self.set_interval(GONE_SECONDS, self.end_without_terminal)
        self.recall()

    def end_without_terminal(self) -> None:
        """A terminal that was closed without a signal would leave a program that reads nothing for ever."""
        if terminal_gone(sys.stdin.fileno()):
            self.exit()

    async def on_unmount(self) -> None:
        await self.session.close()

    def open_chat(self, name: str | None, model: str) -> None:
        """Another chat, or another mind for this one. A turn that goes on is stopped first."""
        self.workers.cancel_group(self, "turn")
        self.change(self.make(name, model))

    @work(group="change", exclusive=True)
    async def change(self, session: Session) -> None:
        old, self.session = self.session, session
        self.recalled.clear()
        self.query_one("#title", Static).update(self.heading)
        await self.query_one(Transcript).clear()
        await old.close()
        self.recall()

    def resume(self, name: str | None) -> None:
        if name is not None and name != self.session.chat:
            self.open_chat(name, self.session.model)

    @work(group="recall", exclusive=True)
    async def recall(self) -> None:
        """Import the agent off the loop while the user reads, then read the chat's past."""
        await asyncio.to_thread(__import__, "agent.graph")
        try:
            self.tell_keyring()
            self.post_message(HistoryRead(await self.session.history()))
        except FinetuneError as error:
            self.post_message(TurnFailed(error.line()))
        except Exception as error:
            self.post_message(TurnFailed(bug_line(error)))
        finally:
            self.post_message(Waits(""))
            self.recalled.set()

    def tell_keyring(self) -> None:
        if self.session.asks_keyring:
            self.post_message(Waits(KEYRING))

    def on_waits(self, message: Waits) -> None:
        self.waits = message.line
        self.show_working()

    def show_working(self) -> None:
        self.query_one("#working", Static).update(self.waits or (THINKING if self.busy else ""))

    async def on_history_read(self, message: HistoryRead) -> None:
        transcript = self.query_one(Transcript)
        if message.said:
            await transcript.recall(message.said)
            self.find_run("chat")
        elif not transcript.children:
            await transcript.welcome()

    async def on_prompt_box_sent(self, message: PromptBox.Sent) -> None:
        if command := parse(message.text):
            self.query_one(PromptBox).sent()
            self.slash(*command)
            return
        if await self.send(message.text):
            self.query_one(PromptBox).sent()

    async def send(self, text: str) -> bool:
        """Send words of the user's; False while an answer is still being written."""
        if self.busy:
            self.notify("Wait for the answer, or press Esc to stop it.", markup=False)
            return False
        await self.query_one(Transcript).user_says(text)
        self.follow(lambda: self.session.send(text))
        return True

    def follow(self, turn: Callable[[], AsyncIterator[Event]]) -> None:
        self.busy = True
        self.show_working()
        self.drive(turn)

    @work(group="turn", exclusive=True)
    async def drive(self, turn: Callable[[], AsyncIterator[Event]]) -> None:
        """Post what happens in a turn. A bug is shown and logged too: the window and the chat outlive it."""
        session = self.session
        try:
            await self.recalled.wait()
            self.tell_keyring()
            async for event in turn():
                self.post_message(SessionEvent(event, self.session))
        except asyncio.CancelledError:
            self.post_message(SessionEvent(TextDelta(f"\n\n{STOPPED}"), session))
            raise
        except FinetuneError as error:
            self.post_message(TurnFailed(error.line()))
        except Exception as error:
            self.post_message(TurnFailed(bug_line(error)))
        finally:
            self.post_message(TurnOver())

    async def on_session_event(self, message: SessionEvent) -> None:
        if message.session is not self.session:  # still queued when the chat was left
            return
        transcript, event = self.query_one(Transcript), message.event
        if self.waits:
            self.on_waits(Waits(""))
        if isinstance(event, TextDelta):
            await transcript.write(event)
        elif isinstance(event, Again):
            await transcript.forget_answer()
            self.query_one("#working", Static).update(f"Asking again: {event.why}")
        elif isinstance(event, ToolStarted):
            await transcript.start(event)
        elif isinstance(event, ToolFinished):
            await transcript.finish(event)
            self.show_run(event)
        elif isinstance(event, ApprovalNeeded):
            await transcript.end_answer()
            self.push_screen(Approval(event, self.session.edited, self.session.foreseen), self.answered)
        elif isinstance(event, TurnDone):
            await transcript.cite(event.turn.sources)

    def answered(self, answer: Answered | None) -> None:
        given = answer or Answered(False)
        self.follow(lambda: self.session.answer_approval(given.approve, given.edited))

    async def on_turn_failed(self, message: TurnFailed) -> None:
        transcript = self.query_one(Transcript)
        await transcript.end_answer()
        await transcript.notice(message.line, error=True)

    async def on_turn_over(self) -> None:
        self.busy = False
        self.on_waits(Waits(""))
        going = self.session.goes_on
        await self.query_one(Transcript).end_turn(going)
        if going:
            self.notify(f"Stopped waiting; {', '.join(going.values())} goes on.", markup=False)
            self.follow_late(self.session)

    @work(group="late", exclusive=True)
    async def follow_late(self, session: Session) -> None:
        """Post the ends of the calls that go on though their turn was stopped."""
        async for event in session.late():
            self.post_message(SessionEvent(event, session))

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """The commands that fit, while one is written."""
        if isinstance(event.text_area, PromptBox):
            shown, lines = self.query_one("#hints", Static), hints(event.text_area.text)
            shown.update("\n".join(lines))
            shown.display = bool(lines)

    def on_key(self, event: events.Key) -> None:
        """What is written while a card or a button has the keys belongs into the prompt; Esc goes back there."""
        box, focused = self.query_one(PromptBox), self.focused
        if self.screen is not box.screen or focused is box or (event.key == "space" and isinstance(focused, Fold)):
            return
        if event.key == "escape":
            box.focus()
        elif event.character and event.is_printable:
            event.stop()
            box.take(event.character)

    def on_paste(self, event: events.Paste) -> None:
        box = self.query_one(PromptBox)
        if self.screen is box.screen and self.focused is not box:
            box.take(event.text)

    def on_typed(self, message: Typed) -> None:
        self.query_one(PromptBox).take(message.text)

    def action_scroll_transcript(self, where: str) -> None:
        self.query_one(Transcript).scroll_by_key(where)

    def on_prompt_box_help_wanted(self) -> None:
        self.action_help()

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_chats(self) -> None:
        self.slash_chats("")

    def action_stop_answer(self) -> None:
        if self.busy:
            self.workers.cancel_group(self, "turn")

    def action_light_or_dark(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"


def terminal_gone(file: int) -> bool:
    """Whether the other end of a terminal hung up."""
    poll = select.poll()
    poll.register(file, select.POLLHUP | select.POLLERR)
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def run_chat(settings: Settings, chat: str | None = None) -> int:
    """Open the window on `chat`, or on a new one, until the user closes it; a running job goes on.

    Returns the exit code. Raises UserError where there is no terminal.
    """
    from tools.runs import going, progress

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("The chat needs a terminal", "finetune", 'Ask one question without it: finetune ask "TEXT".')
    name = chat or f"chat-{datetime.now():%Y%m%d-%H%M%S}"
    session = Session(settings.model, settings.base_url, name, **settings.link)
    app = ChatApp(session, progress, stop_run, going=going)
    app.run()
    return app.return_code or 0


def stop_run(run: str) -> str:
    from tools import TOOLS

    runs: Any = next(tool for tool in TOOLS if tool.name == "runs")
    text: str = runs.call(action="stop", run=run).text()
    return text.splitlines()[0]
