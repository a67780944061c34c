"""The review window, by its keys, by what it shows and by what it leaves on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Static

from agent.tui.review import ReviewApp, open_review, summary
from agent.tui.review_edit import EditRow, Field, texts_of
from agent.tui.review_help import ReviewHelp
from agent.tui.review_row import LONGEST, Finding, MessageBlock, RowView, blocks
from tools.base import UserError
from tools.sample import Review

SIZES = [(80, 24), (110, 34)]
EVIL = "[red]x[/red] [@click=app.quit]y[/] [/nonsense]"


def chat(asked: str, answer: str = "yes") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def problem(code: str, severity: str = "warning") -> dict[str, Any]:
    return {"code": code, "severity": severity, "field": "user", "message": f"it is {code}", "fix": "Look at it."}


ROWS: list[dict[str, Any]] = [
    {"line": 7, "row": {"messages": [{"role": "user", "content": "hi"}]}, "problems": [problem("no_reply", "error")]},
    {"line": 3, "row": chat("two", "b"), "problems": [problem("refusal"), problem("mojibake")]},
    {"line": 5, "row": chat("three", "c"), "problems": []},
    {"line": 9, "row": chat("four", "d"), "problems": [], "control": True},
]


def sample_of(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """A sample file as `data sample` leaves it, and as a person may write it: the least that it must hold."""
    path = folder / "sample.jsonl"
    path.write_text("".join(json.dumps({"why": "worst", "decision": None, **row}) + "\n" for row in rows))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sample_of(tmp_path)


def said(app: ReviewApp, name: str) -> str:
    return str(app.screen.query_one(name, Static).render())


def shown(app: ReviewApp) -> list[str]:
    """The lines of the row, block by block."""
    return [str(widget.render()) for widget in app.query_one(RowView).query(Static)]


def kinds(path: Path) -> list[str | None]:
    """What a new reader of the files finds."""
    review = Review(path)
    made = [review.decision(place) for place in range(len(review.items))]
    return [decision.decision if decision else None for decision in made]


def notices(app: ReviewApp) -> list[str]:
    return [each.message for each in app._notifications]


async def press(pilot: Any, *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def type_over(app: ReviewApp, pilot: Any, field: int, text: str) -> None:
    area = list(app.screen.query(Field))[field]
    area.focus()
    area.select_all()
    area.replace(text, *area.selection)
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_a_row_with_its_problems_and_roles_fits_the_window(size: tuple[int, int], theme: str, path: Path) -> None:
    app = ReviewApp(Review(path))
    app.theme = theme
    async with app.run_test(size=size) as pilot:
        await press(pilot, "n")
        assert said(app, "#progress") == "2 of 4 · 0 kept · 0 dropped · 0 edited · 4 undecided"
        assert shown(app)[:2] == ["○ undecided", "line 3 · worst"]
        assert [str(each.render()) for each in app.query(Finding)] == [
            "! refusal [user]: it is refusal. Look at it.",
            "! mojibake [user]: it is mojibake. Look at it.",
        ]
        assert shown(app)[4:] == ["user", "two", "assistant", "b"]
        tops = [each.region.y for each in (*app.query(Finding), *app.query(MessageBlock))]
        assert tops == sorted(tops)
        assert all(each.region.right <= size[0] for each in app.query(MessageBlock))
        assert app.query_one("Footer").region.bottom == size[1]
        assert not app.query_one("#notice").display


async def test_keep_and_drop_are_on_disk_before_the_next_row_is_shown(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "d")
        assert kinds(path) == ["drop", None, None, None]
        assert said(app, "#progress").startswith("2 of 4 · 0 kept · 1 dropped")
        await press(pilot, "k", "d", "k")
        assert kinds(path) == ["drop", "keep", "drop", "keep"]
        assert "Every row is decided" in notices(app)[-1]
        assert said(app, "#progress") == "4 of 4 · 2 kept · 2 dropped · 0 edited · 0 undecided"
        await press(pilot, "left", "k")
        assert kinds(path) == ["drop", "keep", "keep", "keep"]


async def test_a_row_that_cannot_be_trained_on_is_not_kept(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "k")
        assert "no assistant reply" in notices(app)[-1]
        assert kinds(path) == [None] * 4
        assert said(app, "#progress").startswith("1 of 4")


async def test_next_previous_and_skip(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        for key, place in [("p", 0), ("n", 1), ("right", 2), ("right", 3), ("right", 3), ("left", 2), ("p", 1)]:
            await press(pilot, key)
            assert app.place == place
        await press(pilot, "d")
        assert app.place == 2
        await press(pilot, "s", "s")
        assert app.place == 0
        await press(pilot, "s")
        assert app.place == 2
        assert kinds(path) == [None, "drop", None, None]


@pytest.mark.parametrize("size", SIZES)
async def test_an_edit_with_a_fault_is_refused_and_saved_when_repaired(size: tuple[int, int], path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test(size=size) as pilot:
        await press(pilot, "n", "e")
        assert isinstance(app.screen, EditRow)
        assert [field.text for field in app.screen.query(Field)] == ["two", "b"]
        assert list(app.screen.query(Field))[1].has_focus
        await press(pilot, "backspace", "ctrl+s")
        assert isinstance(app.screen, EditRow)
        assert "no assistant reply to learn" in said(app, "#faults")
        assert app.screen.query_one("#faults").region.height >= 1
        assert kinds(path) == [None] * 4
        await press(pilot, "n", "e", "w", "ctrl+s")
        assert not isinstance(app.screen, EditRow)
        assert kinds(path) == [None, "edit", None, None]
        made = Review(path).decision(1)
        assert made is not None
        assert made.row == chat("two", "new")
        assert app.place == 2
        await press(pilot, "p")
        assert shown(app)[0] == "◆ edited"
        assert shown(app)[-1] == "new"


async def test_the_json_of_a_row_is_edited_checked_and_goes_with_the_fields(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "e")
        await type_over(app, pilot, 0, "hello")
        await press(pilot, "f2")
        text = app.screen.query_one(Field).text
        assert json.loads(text) == {"messages": [{"role": "user", "content": "hello"}]}
        await type_over(app, pilot, 0, "{")
        await press(pilot, "ctrl+s")
        assert "not valid JSON" in said(app, "#faults")
        for bad, says in [("[]", "not an object"), ('{"messages": 3}', '"messages" is int'), ("[" * 9999, "nested")]:
            await type_over(app, pilot, 0, bad)
            await press(pilot, "ctrl+s")
            assert says in said(app, "#faults")
        await type_over(app, pilot, 0, json.dumps(chat("hello", "ho")))
        await press(pilot, "f2")
        assert [field.text for field in app.screen.query(Field)] == ["hello", "ho"]
        await press(pilot, "ctrl+s")
        made = Review(path).decision(0)
        assert made is not None
        assert (made.row, made.line) == (chat("hello", "ho"), 7)


async def test_escape_and_an_unchanged_row_decide_nothing(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "n", "e")
        await type_over(app, pilot, 1, "other")
        await press(pilot, "escape")
        assert not isinstance(app.screen, EditRow)
        await press(pilot, "e", "ctrl+s")
        assert not isinstance(app.screen, EditRow)
        assert (kinds(path), app.place) == ([None] * 4, 1)


async def test_undo_takes_back_step_by_step_and_shows_the_row(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "d", "d", "p", "k", "u")
        assert kinds(path) == ["drop", "drop", None, None]
        assert app.place == 1
        assert shown(app)[0] == "✗ dropped"
        await press(pilot, "u", "u")
        assert kinds(path) == [None] * 4
        assert app.place == 0
        await press(pilot, "u")
        assert "nothing to undo" in notices(app)[-1]


async def test_a_review_goes_on_where_it_was_left(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "d", "k", "q")
        assert not app.is_running
    again = ReviewApp(Review(path))
    async with again.run_test() as pilot:
        assert said(again, "#progress") == "3 of 4 · 1 kept · 1 dropped · 0 edited · 2 undecided"
        await press(pilot, "u")
        assert kinds(path) == ["drop", None, None, None]
        await press(pilot, "k", "k", "k")
    assert "4 of 4 rows are decided: 3 kept, 1 dropped, 0 edited." in summary(Review(path))
    assert "0 of 1 are faulty" in summary(Review(path))


async def test_a_sample_that_changed_is_noticed(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "d", "d")
    sample_of(path.parent, [ROWS[0], {**ROWS[1], "row": chat("another", "b")}, *ROWS[2:]])
    with open(Review(path).journal, "a") as journal:
        journal.write('{"line": 5, "sha')
    again = ReviewApp(Review(path))
    async with again.run_test() as pilot:
        await pilot.pause()
        assert kinds(path) == ["drop", None, None, None]
        assert again.query_one("#notice").display
        assert "lines 3." in said(again, "#notice")
        assert "could not be read: 1" in said(again, "#notice")
        assert again.place == 1
        await press(pilot, "k")
        assert kinds(path) == ["drop", "keep", None, None]


async def test_a_decision_that_cannot_be_written_is_told_and_not_shown_as_made(path: Path) -> None:
    review = Review(path)
    app = ReviewApp(review)
    review.journal.mkdir()
    async with app.run_test() as pilot:
        await press(pilot, "d")
        assert "Cannot write" in notices(app)[-1]
        assert said(app, "#progress") == "1 of 4 · 0 kept · 0 dropped · 0 edited · 4 undecided"


async def test_a_note_goes_with_the_decision(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await press(pilot, "m")
        assert "Decide first" in notices(app)[-1]
        await press(pilot, "d", "p", "m")
        app.screen.query_one(Input).value = EVIL
        await press(pilot, "enter")
        assert f"note: {EVIL}" in shown(app)
        await press(pilot, "m", "escape")
    made = Review(path).decision(0)
    assert made is not None
    assert (made.decision, made.note, made.reviewer) == ("drop", EVIL, None)


async def test_what_a_row_holds_is_shown_as_text(tmp_path: Path) -> None:
    turns = [
        {"role": EVIL, "content": EVIL},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": EVIL, "arguments": "{}"}}]},
        {"role": "tool", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "\x1b[31mred\u202e \r\nnext" + "x" * LONGEST},
        "no turn",
    ]
    row = {"messages": turns, "id": 4}
    path = sample_of(tmp_path, [{"line": 1, "why": EVIL, "row": row, "problems": [problem(EVIL)]}])
    app = ReviewApp(Review(path))
    async with app.run_test() as pilot:
        await pilot.pause()
        text = "\n".join(shown(app))
        assert text.count(EVIL) == 6
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "�[31mred� \nnext" in text
        assert "… 15 more characters" in text
        assert "one two" in text
        await press(pilot, "e")
        assert "\x1b" not in app.screen.query_one(Field).text
        assert json.loads(app.screen.query_one(Field).text) == row
    assert [block.role for block in blocks({"text": "a", "label": 1})] == ["text", "label"]


@pytest.mark.parametrize("text", ["a\r\nb", "a\u2028b", "a\x0cb", "a\x1b[0m", "a\u202eb"])
def test_texts_that_a_field_would_bend_are_edited_as_json(text: str) -> None:
    assert texts_of(chat(text)) is None
    assert texts_of(chat("a\nb\n")) == [("user", "a\nb\n"), ("assistant", "yes")]


async def test_a_long_text_scrolls(tmp_path: Path) -> None:
    path = sample_of(tmp_path, [{"line": 1, "row": chat("word " * 2000)}, {"line": 2, "row": chat("short")}])
    app = ReviewApp(Review(path))
    async with app.run_test(size=(80, 24)) as pilot:
        view = app.query_one(RowView)
        await press(pilot, "space")
        await pilot.wait_for_animation()
        assert view.scroll_offset.y > 10
        await press(pilot, "n")
        assert view.scroll_offset.y == 0


async def test_help_and_light_and_dark(path: Path) -> None:
    app = ReviewApp(Review(path))
    async with app.run_test(size=(80, 24)) as pilot:
        dark = app.current_theme.dark
        await press(pilot, "ctrl+t", "question_mark")
        assert app.current_theme.dark is not dark
        assert isinstance(app.screen, ReviewHelp)
        await press(pilot, "d", "escape")
        assert not isinstance(app.screen, ReviewHelp)
        assert kinds(path) == [None] * 4


def test_without_a_terminal_or_a_sample_the_reader_is_told(path: Path) -> None:
    with pytest.raises(UserError, match="needs a terminal"):
        open_review(path)
    with pytest.raises(UserError, match="There is no file"):
        open_review(path.with_name("none.jsonl"))


def test_the_exit_code_and_the_words_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(ReviewApp, "run", lambda app: app.review.decide(1, "drop"))
    assert open_review(path, reviewer="Kim") == 0
    assert "1 of 4 rows are decided: 0 kept, 1 dropped, 0 edited." in capsys.readouterr().out
    made = Review(path).decision(1)
    assert made is not None
    assert made.reviewer == "Kim"
