"""The review: drawn rows one at a time, each decision on disk before the next row is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Static

from agent.tui.review_edit import EditRow
from agent.tui.review_help import ReviewHelp
from agent.tui.review_note import Note
from agent.tui.review_row import RowView
from tools.base import FinetuneError, UserError, printable
from tools.sample import Kind, Review

_LINES_SHOWN = 5


class ReviewApp(App[None]):
    """Reads a sample and writes a journal beside it; it can be left and opened again at any row."""

    TITLE = "Review"
    CSS_PATH: ClassVar[list[str]] = ["app.tcss", "review.tcss"]  # type: ignore[assignment]
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "decide('keep')", "Keep"),
        Binding("d", "decide('drop')", "Drop"),
        Binding("e", "edit", "Edit"),
        Binding("u", "undo", "Undo"),
        Binding("n,right", "move(1)", "Next"),
        Binding("p,left", "move(-1)", "Previous"),
        Binding("s", "skip", "Skip"),
        Binding("m", "note", "Note", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("ctrl+t", "light_or_dark", "Light/dark", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review
        self.place = review.next_undecided(-1) or 0

    def compose(self) -> ComposeResult:
        yield Static(printable(f"{self.TITLE} · {self.review.path.name}"), markup=False, id="title")
        yield Static(markup=False, id="progress")
        yield Static(printable(notice(self.review)), markup=False, id="notice")
        yield RowView()
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        self.query_one("#notice").display = bool(notice(self.review))
        self.query_one(RowView).focus()
        await self.go(self.place)

    async def go(self, place: int) -> None:
        """Show the row at this place."""
        self.place = place
        self.query_one("#progress", Static).update(progress(self.review, place))
        await self.query_one(RowView).show(self.review.items[place], self.review.decision(place))

    async def action_decide(self, kind: Kind, row: dict[str, Any] | None = None) -> None:
        try:
            self.review.decide(self.place, kind, row)
        except FinetuneError as error:
            self.notify(printable(error.line()), severity="error", markup=False)
            return
        following = self.review.next_undecided(self.place)
        if following is None:
            self.notify("Every row is decided. Press q to end.", markup=False)
        await self.go(self.place if following is None else following)

    def action_edit(self) -> None:
        item, made = self.review.items[self.place], self.review.decision(self.place)
        row = made.row if made and made.row is not None else item.row
        self.push_screen(EditRow(item.line, row), self.edited)

    async def edited(self, row: dict[str, Any] | None) -> None:
        if row is not None:
            await self.action_decide("edit", row)

    def action_note(self) -> None:
        made = self.review.decision(self.place)
        if made is None:
            self.notify("Decide first, then add the note.", markup=False)
        else:
            self.push_screen(Note(made.note or ""), self.noted)

    async def noted(self, note: str | None) -> None:
        if note is None:
            return
        try:
            self.review.annotate(self.place, note)
        except FinetuneError as error:
            self.notify(printable(error.line()), severity="error", markup=False)
        await self.go(self.place)

    async def action_undo(self) -> None:
        try:
            place = self.review.undo()
        except FinetuneError as error:
            self.notify(printable(error.line()), severity="error", markup=False)
            return
        if place is None:
            self.notify("There is nothing to undo.", markup=False)
        else:
            await self.go(place)

    async def action_move(self, by: int) -> None:
        place = min(max(0, self.place + by), len(self.review.items) - 1)
        if place != self.place:
            await self.go(place)

    async def action_skip(self) -> None:
        following = self.review.next_undecided(self.place)
        if following is None or following == self.place:
            self.notify("There is no other row without a decision.", markup=False)
        else:
            await self.go(following)

    def action_help(self) -> None:
        self.push_screen(ReviewHelp())

    def action_light_or_dark(self) -> None:
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"


def progress(review: Review, place: int) -> str:
    """Where the reader is, and what was decided."""
    made = review.counts()
    done = f"{made['keep']} kept · {made['drop']} dropped · {made['edit']} edited"
    return f"{place + 1} of {len(review.items)} · {done} · {made['undecided']} undecided"


def notice(review: Review) -> str:
    """What of the earlier decisions does not count any more, or an empty string."""
    said = []
    if stale := review.stale:
        lines = ", ".join(map(str, stale[:_LINES_SHOWN])) + (", …" if len(stale) > _LINES_SHOWN else "")
        said.append(f"Rows decided about earlier are gone or changed, so that does not count: lines {lines}.")
    if review.unreadable:
        said.append(f"Lines of {review.journal.name} that could not be read: {review.unreadable}.")
    return " ".join(said)


def summary(review: Review) -> str:
    """What was decided, for when the window is closed."""
    made = review.counts()
    done = len(review.items) - made["undecided"]
    what = f"{made['keep']} kept, {made['drop']} dropped, {made['edit']} edited"
    return f"{done} of {len(review.items)} rows are decided: {what}. {review.fault_rate().text()}"


def open_review(path: Path, reviewer: str | None = None) -> int:
    """Review a sample in the terminal; returns the exit code when the reader closes it.

    Raises UserError where the sample cannot be read, or where there is no terminal.
    """
    review = Review(path, reviewer)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fix = 'Or open the file in any editor and write "keep", "drop" or "edit" in place of each null decision.'
        raise UserError("A review needs a terminal", str(path), fix)
    ReviewApp(review).run()
    sys.stdout.write(printable(summary(review)) + "\n")
    return 0
