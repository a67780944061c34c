"""A tuned model and its base side by side, asked the same things."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from agent.tui.answer import Answer
from agent.tui.bugs import bug_line
from agent.tui.lines import Notice, UserMessage
from tools.base import FinetuneError


class Trial(Protocol):
    """`tools.serving.Trial`."""

    models: tuple[str, ...]
    note: str
    """what is to be said of it once; mostly nothing"""

    def ask(self, model: str, turns: Sequence[dict[str, Any]]) -> Iterator[str]: ...

    def close(self) -> None: ...


Open = Callable[[str], Trial]
LOADING = "Loading the model …"
NOTE = "For a feel only: what a model is worth is measured on many rows."


class Side(Vertical):
    """One model's half of the conversation."""

    def __init__(self, model: str) -> None:
        super().__init__(classes="side")
        self.model = model
        self.turns: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        yield Static(self.model, markup=False, classes="title")
        yield VerticalScroll(classes="said", can_focus=False)

    @property
    def said(self) -> VerticalScroll:
        return self.query_one(".said", VerticalScroll)

    async def hear(self, text: str) -> Answer:
        """Show the question; what comes back is written into the answer that is returned."""
        self.turns.append({"role": "user", "content": text})
        answer = Answer()
        await self.said.mount_all([UserMessage(text), answer])
        self.said.scroll_end(animate=False)
        return answer

    async def write(self, answer: Answer, text: str) -> None:
        await answer.write(text)
        self.said.scroll_end(animate=False)


class TryScreen(Screen[None]):
    """The models are loaded when it opens, and gone when it closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        Binding("ctrl+n", "anew", "Begin anew"),
        Binding("pageup", "move(-8)", "Up", show=False),
        Binding("pagedown", "move(8)", "Down", show=False),
    ]

    def __init__(self, run: str, opens: Open) -> None:
        super().__init__()
        self.run, self.opens = run, opens
        self.trial: Trial | None = None
        self.over = self.busy = False

    def compose(self) -> ComposeResult:
        yield Static(f"Try {Path(self.run).name}", markup=False, id="title")
        yield Horizontal(id="sides")
        yield Static(LOADING, markup=False, id="working")
        yield Input(placeholder="Ask both", id="ask", disabled=True)
        yield Footer()

    def on_mount(self) -> None:
        self.load()

    @work(thread=True, group="load")
    def load(self) -> None:
        try:
            trial = self.opens(self.run)
        except FinetuneError as error:
            self.call(self.tell, error.line())
        except Exception as error:
            self.call(self.tell, bug_line(error))
        else:
            self.trial = trial
            if self.over:  # it was closed while the model was loaded
                trial.close()
            else:
                self.call(self.ready, trial)

    def call(self, what: Callable[..., Any], *given: Any) -> None:
        """From a worker's thread; nothing where the screen is gone."""
        if not self.over:
            self.app.call_from_thread(what, *given)

    async def ready(self, trial: Trial) -> None:
        await self.query_one("#sides").mount_all([Side(model) for model in trial.models])
        self.query_one("#working", Static).update(NOTE)
        if trial.note:
            self.notify(trial.note, markup=False)
        box = self.query_one(Input)
        box.disabled = False
        box.focus()

    async def tell(self, line: str) -> None:
        self.busy = False
        self.query_one("#working", Static).update("")
        await self.query_one("#sides").mount(Notice(line, error=True))

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text or self.trial is None:
            return
        if self.busy:
            self.notify("Wait for the answers.", markup=False)
            return
        event.input.clear()
        self.busy = True
        sides = list(self.query(Side))
        self.ask(self.trial, [(side, await side.hear(text)) for side in sides])

    @work(thread=True, group="ask")
    def ask(self, trial: Trial, sides: list[tuple[Side, Answer]]) -> None:
        """One after the other: the two share their weights."""
        try:
            for side, answer in sides:
                self.call(self.query_one("#working", Static).update, f"{side.model} answers …")
                said = ""
                for piece in trial.ask(side.model, side.turns):
                    said += piece
                    self.call(side.write, answer, piece)
                side.turns.append({"role": "assistant", "content": said.strip()})
                self.call(answer.finish)
        except FinetuneError as error:
            self.call(self.tell, error.line())
        except Exception as error:
            self.call(self.tell, bug_line(error))
        else:
            self.call(self.query_one("#working", Static).update, NOTE)
        self.busy = False

    def action_move(self, lines: int) -> None:
        for side in self.query(Side):
            side.said.scroll_relative(y=lines, animate=False)

    async def action_anew(self) -> None:
        """Both forget what was said."""
        if not self.busy:
            for side in self.query(Side):
                side.turns.clear()
                await side.said.remove_children()

    def action_close(self) -> None:
        self.dismiss()

    def on_unmount(self) -> None:
        """Also where the window closes: no server is left."""
        self.over = True
        if self.trial is not None:
            threading.Thread(target=self.trial.close).start()  # its process may take seconds to end
