"""A line that opens to show more."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.reactive import reactive
from textual.widgets import Static


class FoldTitle(Static):
    """The line that is always there; a click opens and closes the rest."""


class Fold(Vertical, can_focus=True):
    """Compose a FoldTitle and widgets of class `detail`; `title` gives the line's text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "open_or_close", "Open/close")]

    opened: reactive[bool] = reactive(False)

    def title(self) -> str:
        raise NotImplementedError

    def on_mount(self) -> None:
        self.draw()

    def on_click(self) -> None:
        self.action_open_or_close()

    def action_open_or_close(self) -> None:
        self.opened = not self.opened

    def watch_opened(self) -> None:
        self.set_class(self.opened, "-opened")
        self.draw()

    def draw(self) -> None:
        for line in self.query(FoldTitle):  # none before the widget is composed
            line.update(f"{'▾' if self.opened else '▸'} {self.title()}")
