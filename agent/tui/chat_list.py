"""The saved chats: search by their words, resume one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from agent.chats import Chat

SHOWN = 200


class ChatList(ModalScreen[str | None]):
    """Its result is the name of the chat to resume, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down", "to_list", "List", show=False),
    ]

    def __init__(self, find: Callable[[str], list[Chat]], words: str = "") -> None:
        super().__init__()
        self.find = find
        self.words = words

    def compose(self) -> ComposeResult:
        with Vertical(id="chats"):
            yield Static("Saved chats", markup=False, classes="title")
            yield Input(self.words, placeholder="words that were said", id="words")
            yield OptionList(id="found")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.search(self.words)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.search(event.value)

    @work(thread=True, exclusive=True)
    def search(self, words: str) -> None:
        self.app.call_from_thread(self.show, self.find(words)[:SHOWN])

    def show(self, chats: list[Chat]) -> None:
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options([Option(line_of(chat), id=f"chat-{place}") for place, chat in enumerate(chats)])
        self.names = [chat.name for chat in chats]
        if chats:
            found.highlighted = 0

    def on_input_submitted(self) -> None:
        found = self.query_one(OptionList)
        if found.highlighted is not None:
            self.dismiss(self.names[found.highlighted])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.names[event.option_index])

    def action_to_list(self) -> None:
        self.query_one(OptionList).focus()


def line_of(chat: Chat) -> Text:
    """Text is shown as it is: what was asked may look like markup."""
    when = datetime.fromtimestamp(chat.changed).strftime("%d %b %H:%M")
    turns = f"{chat.turns} turn{'s' * (chat.turns != 1)}"
    return Text.assemble((f"{when}  ", "dim"), chat.title, (f"  {turns} · {chat.name}", "dim"), no_wrap=True)
