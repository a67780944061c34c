"""Slash commands, suggestions, saved chats and the change of a step before it is approved: keys in, screen out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from test_session import calling, scripted
from test_tui import DONE, PLAN, Played, app_of, finished, no_run, say, shown, started, stop_nothing
from textual.widgets import OptionList, Static, TextArea

from agent import chats
from agent.events import Again, ApprovalNeeded, TextDelta, TurnDone
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.answer import Answer
from agent.tui.approval import Approval
from agent.tui.chat_list import ChatList
from agent.tui.commands import COMMANDS, parse
from agent.tui.help import Help
from agent.tui.lines import Earlier, Notice, UserMessage
from agent.tui.prompt_box import PromptBox
from agent.tui.run_panel import RunPanel
from agent.tui.slash import Slash
from agent.tui.suggest import PHRASES, complete_path, suggest
from agent.tui.transcript import SHOWN, Transcript


def test_every_command_of_the_table_does_something() -> None:
    for command in COMMANDS:
        assert callable(getattr(Slash, f"slash_{command.name}"))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("/help", ("help", "")), ("/Model openai:x", ("model", "openai:x")), ("/data/x.csv", None),
     ("/data/x.csv is bad", None), ("help", None), ("/", None), ("/help\nme", None)],
)  # fmt: skip
def test_a_path_is_no_command(text: str, parsed: Any) -> None:
    assert parse(text) == parsed


def test_suggestions_complete_commands_phrases_and_paths(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").touch()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "train.jsonl").touch()
    (tmp_path / "binary.exe").touch()
    (tmp_path / ".hidden.csv").touch()
    assert suggest("/si", tmp_path) == "tuation"
    assert suggest("should i", tmp_path) == PHRASES[0][len("should i") :]
    assert suggest("check tick", tmp_path) == "ets.csv"
    assert suggest("check ./pa", tmp_path) == "rts/"
    assert suggest("check ./parts/tr", tmp_path) == "ain.jsonl"
    assert suggest(f"check {tmp_path}/tic", tmp_path) == "kets.csv"
    for nothing in ("", "check bin", "check ./gone/x", "zzz", "check tickets.csv"):
        assert suggest(nothing, tmp_path) == "", nothing


@given(st.text(max_size=30))
@example("\x00/")
def test_any_text_may_be_written(text: str) -> None:
    assert isinstance(suggest(text, Path("/nowhere")), str)
    assert text.startswith(("/", "~")) or complete_path(text, Path("/nowhere")) == ""
    parse(text)


async def test_tab_takes_the_suggestion_and_up_brings_back_what_was_sent() -> None:
    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        await say(app, pilot, "first question")
        box = app.query_one(PromptBox)
        await pilot.press("/", "s", "i")
        assert box.suggestion == "tuation"
        await pilot.press("tab")
        assert box.text == "/situation"
        box.clear()
        await pilot.press("up")
        assert box.text == "first question"
        await pilot.press("down")
        assert box.text == ""


async def test_the_situation_the_mind_and_unknown_commands_are_told(tmp_path: Path) -> None:
    async with Session() as session:
        app = ChatApp(session, no_run, stop_nothing)
        async with app.run_test() as pilot:
            await say(app, pilot, "Should I fine-tune for ticket triage? We have 800 examples")
            await say(app, pilot, "/situation")
            await say(app, pilot, "/model")
            await say(app, pilot, "/model nonsense")
            await say(app, pilot, "/fly")
            await say(app, pilot, f"/save {tmp_path / 'chat.md'}")
            await say(app, pilot, f"/save {tmp_path / 'chat.md'}")
            told = shown(app, Notice)
    assert "examples: 800" in told[0]
    assert told[1].startswith("offline answers.")
    assert 'neither "offline" nor' in told[2]
    assert "There is no command /fly" in told[3]
    assert (tmp_path / "chat.md").read_text().startswith("> Should I fine-tune for ticket triage?")
    assert "is there already" in told[5]


async def test_another_mind_and_another_chat_take_over(tmp_path: Path) -> None:
    made: list[tuple[str | None, str]] = []

    def make(chat: str | None, model: str) -> Session:
        made.append((chat, model))
        return Session(model, chat=chat, mind=scripted(AIMessage("Here.")))

    chats.keep("before", "What is LoRA?", "Low rank.")
    app = ChatApp(Session(chat="now"), no_run, stop_nothing, make)
    async with app.run_test(size=(100, 30)) as pilot:
        await app.workers.wait_for_complete()
        await say(app, pilot, "/model openai:m")
        await pilot.pause()
        assert made == [("now", "openai:m")]
        assert "openai:m" in str(app.query_one("#title", Static).render())
        await pilot.press("ctrl+o")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, ChatList)
        await pilot.press(*"lora")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.screen.query_one(OptionList).option_count == 1
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert made[-1] == ("before", "openai:m")
        assert shown(app, UserMessage) == ["What is LoRA?"]


async def test_a_step_is_changed_before_it_is_approved() -> None:
    mind = scripted(calling("data_undo", version="x"), AIMessage("Done."))
    session = Session(mind=mind)
    app = ChatApp(session, no_run, stop_nothing)
    async with app.run_test(size=(100, 40)) as pilot:
        await say(app, pilot, "undo that")
        assert isinstance(app.screen, Approval)
        await pilot.press("e")
        area = app.screen.query_one(TextArea)
        assert yaml.safe_load(area.text) == {"version": "x"}
        area.text = "version: [1, 2"
        await pilot.press("ctrl+s")
        assert "Not YAML" in str(app.screen.query_one(".fault", Static).render())
        area.text = "colour: red"
        await pilot.press("ctrl+s")
        assert "colour" in str(app.screen.query_one(".fault", Static).render())
        area.text = "version: y"
        await pilot.press("ctrl+s")
        assert str(app.screen.query_one(".command", Static).render()) == "$ finetune data undo y"
        await pilot.press("y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert not isinstance(app.screen, Approval)
    asked = [message for message in mind.heard[-1] if message.type == "tool"]
    assert 'no version "y"' in asked[-1].text


async def test_escape_leaves_the_change_first_and_then_refuses() -> None:
    asked = ApprovalNeeded("1", "go", {"data": "x.csv"}, "finetune go x.csv", PLAN)
    session = Played(asked)
    app = app_of(session)
    async with app.run_test(size=(100, 40)) as pilot:
        await say(app, pilot, "train")
        await pilot.press("e", "escape")
        assert isinstance(app.screen, Approval)
        await pilot.press("escape")
        await pilot.pause()
        assert session.answers == [False]


async def test_an_answer_that_broke_off_is_taken_back() -> None:
    app = app_of(Played(TextDelta("half an ans"), Again("cut"), TextDelta("whole"), DONE))
    async with app.run_test() as pilot:
        await say(app, pilot, "hello")
        assert [answer.source for answer in app.query(Answer)][-1] == "whole"
        assert "half an ans" not in [answer.source for answer in app.query(Answer)]


async def test_a_long_chat_is_drawn_from_its_end_and_the_rest_is_within_reach() -> None:
    for number in range(SHOWN):
        chats.keep("long", f"question {number}", f"answer {number}")
    app = ChatApp(Session(chat="long", mind=scripted()), no_run, stop_nothing)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        transcript = app.query_one(Transcript)
        assert len(transcript.query(UserMessage)) == SHOWN // 2
        assert str(app.query_one(Earlier).label) == f"▲ {SHOWN} earlier messages"
        app.query_one(Earlier).press()
        await pilot.pause()
        await pilot.pause()
        assert len(transcript.query(UserMessage)) == SHOWN
        assert not app.query(Earlier)
        assert shown(app, UserMessage)[0] == "question 0"


async def test_what_scrolls_away_is_kept_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 30
    monkeypatch.setattr("agent.tui.transcript.MOST", most)
    done = TurnDone(DONE.turn.__class__("q", "offline", "other", "a", None, None, [], []))
    app = app_of(Played(started(), finished(), TextDelta("It is so."), done))
    async with app.run_test() as pilot:
        for number in range(most // 3 + 5):
            await say(app, pilot, f"question {number}")
        transcript = app.query_one(Transcript)
        assert len(transcript.children) <= most + 1
        assert ("user", "question 0") in transcript.hidden


async def test_help_lists_every_command() -> None:
    app = app_of(Played(DONE))
    async with app.run_test(size=(80, 24)) as pilot:
        await say(app, pilot, "/help")
        assert isinstance(app.screen, Help)
        told = "\n".join(shown(app))
        assert all(command.usage in told for command in COMMANDS)


async def test_while_a_command_is_written_those_that_fit_stand_above() -> None:
    app = app_of(Played(DONE))
    async with app.run_test(size=(80, 24)) as pilot:
        hints = app.query_one("#hints", Static)
        await pilot.press("/")
        await pilot.pause()
        assert all(command.usage in str(hints.render()) for command in COMMANDS)
        assert hints.region.height == len(COMMANDS)
        await pilot.press("r", "u")
        await pilot.pause()
        assert [line.split()[0] for line in str(hints.render()).splitlines()] == ["/runs", "/run"]
        app.query_one(PromptBox).text = "/data/rows.csv"
        await pilot.pause()
        assert not hints.display


async def test_a_draft_comes_back_and_up_moves_inside_it_first() -> None:
    app = app_of(Played(DONE))
    async with app.run_test() as pilot:
        await say(app, pilot, "first question")
        box = app.query_one(PromptBox)
        box.text = "a draft\nof two lines"
        box.move_cursor(box.document.end)
        await pilot.press("up")
        assert box.text == "a draft\nof two lines"
        await pilot.press("up")
        assert box.text == "first question"
        await pilot.press("down")
        assert box.text == "a draft\nof two lines"


async def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    app = app_of(Played(DONE))
    (tmp_path / "no_sample.jsonl").write_text("[1]\n")
    async with app.run_test() as pilot:
        await say(app, pilot, "/run nope")
        await say(app, pilot, "/run")
        await say(app, pilot, "/review /nowhere/sample.jsonl")
        await say(app, pilot, f"/review {tmp_path / 'no_sample.jsonl'}")
        told = shown(app, Notice)
        assert not app.query_one(RunPanel).display
    assert 'No run "nope"' in told[0]
    assert "There are no runs" in told[1]
    assert "/nowhere/sample.jsonl" in told[2]
    assert "no_sample.jsonl" in told[3]
