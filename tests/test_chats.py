"""Saved chats: kept a turn at a time, found by their words, and none lost to damage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

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


@given(st.text(max_size=30), st.text(max_size=30))
def test_long_names_that_begin_alike_are_two_chats(one: str, two: str) -> None:
    try:
        files = {chats.file_of("long " * 50 + name) for name in (one, two)}
    except UnicodeEncodeError:
        return
    assert len(files) == len({one, two})
    assert all(len(file.name) < 255 for file in files)


@pytest.mark.parametrize("name", ["long " * 50, "长期" * 30])
def test_a_long_name_is_listed_whole_and_resumed(name: str) -> None:
    chats.keep(f"{name}one", "a", "b")
    chats.keep(f"{name}two", "c", "d")
    assert {chat.name for chat in chats.saved()} == {f"{name}one", f"{name}two"}
    assert chats.read(f"{name}two") == [("user", "c"), ("advisor", "d")]


@pytest.mark.parametrize("name", ["short", "a b/ü", "long " * 50, "长期" * 30])
def test_files_of_an_earlier_version_are_still_read(name: str) -> None:
    """They had no name in their lines, and a long name was only cut."""
    chats_folder().mkdir(parents=True)
    old = chats_folder() / f"{quote(name, safe=' ')[:200]}.jsonl"
    old.write_text('{"at": "2026-11-20T10:00:00+01:00", "question": "a", "answer": "b"}\n')
    (chat,) = chats.saved()
    assert chats.file_of(chat.name) == old
    assert chats.read(chat.name) == [("user", "a"), ("advisor", "b")]


def test_only_chats_that_were_changed_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    turns = chats._turns
    monkeypatch.setattr(chats, "_turns", lambda file: (seen.append(file), turns(file))[1])
    for name in ("one", "two", "three"):
        chats.keep(name, f"What is {name}?", "A number.")
    for words in ("", "w", "wh", "what"):
        assert len(chats.saved(words)) == 3
    assert sorted(seen) == sorted(chats.file_of(name) for name in ("one", "two", "three"))
    seen.clear()
    chats.keep("two", "And four?", "A number, too.")
    chats.file_of("three").unlink()
    assert [(chat.name, chat.turns) for chat in chats.saved("four")] == [("two", 2)]
    assert {chat.name for chat in chats.saved()} == {"one", "two"}
    assert seen == [chats.file_of("two")]


def test_keys_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret-4711")
    chats.keep("one", "my key is sk-very-secret-4711", "do not tell it")
    assert "4711" not in chats.file_of("one").read_text()
