"""Saved chats: kept a turn at a time, found by their words, and none lost to damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from test_session import gather, scripted

from agent import chats
from agent.session import Session
from tools.base import chats_folder


async def said_in(name: str, *texts: str) -> None:
    for text in texts:
        async with Session(mind=scripted(AIMessage(f"You said {text}.")), chat=name) as session:
            await gather(session.send(text))


async def test_chats_are_listed_and_found_by_what_was_said() -> None:
    await said_in("one", "Should I tune for tickets?", "I have 800 rows")
    await said_in("two", "My loss is nan")
    assert {chat.name for chat in chats.saved()} == {"one", "two"}
    one = next(chat for chat in chats.saved() if chat.name == "one")
    assert (one.title, one.turns) == ("Should I tune for tickets?", 2)
    assert [chat.name for chat in chats.saved("LOSS nan")] == ["two"]
    assert [chat.name for chat in chats.saved("800 tickets")] == ["one"]
    assert chats.saved("zebra") == []
    assert chats.read("two") == [("user", "My loss is nan"), ("advisor", "You said My loss is nan.")]


async def test_a_damaged_memory_is_put_aside_and_the_chat_goes_on() -> None:
    await said_in("one", "first")
    for file in chats_folder().glob("chats.sqlite*"):
        file.write_bytes(b"this is no database " * 300)
    await said_in("one", "second")
    async with Session(mind=scripted(), chat="one") as session:
        said = [text for who, text in await session.history() if who == "user"]
    assert said == ["first", "second"], "what was said is kept beside it"
    assert list(chats_folder().glob("chats.damaged-*.sqlite"))


def test_a_torn_line_costs_that_line_alone() -> None:
    chats.keep("one", "a", "b")
    file = chats.file_of("one")
    file.write_bytes(file.read_bytes() + b'{"at": "2026", "question": "c", "ans')
    chats.keep("one", "d", "e")
    assert [text for who, text in chats.read("one") if who == "user"] == ["a", "d"]


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_a_chat_inside_the_folder(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert chats.file_of(name).parent == chats_folder()


def test_keys_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret-4711")
    chats.keep("one", "my key is sk-very-secret-4711", "do not tell it")
    assert "4711" not in chats.file_of("one").read_text()
