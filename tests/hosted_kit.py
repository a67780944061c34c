"""What the tests of hosted jobs stand on: two providers on loopback, the command line, and the search for the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Answer, chat_rows
from hosted_server import CHAT, KEY, TOGETHER_WAY, Hosted, Provider, Together, providing, written
from published_api import FILE, departures


@pytest.fixture
def server(no_key_anywhere: None) -> Iterator[Provider]:
    """OpenAI's API; where its description is at hand, every exchange of every test is held to it."""
    with providing(Provider(key=KEY)) as started:
        yield started
        started.release.set()
    if FILE.exists():
        assert [fault for each in started.said if each.path != CHAT for fault in departures(each)] == []


@pytest.fixture
def together(no_key_anywhere: None) -> Iterator[Provider]:
    with providing(Together(key=KEY, way=TOGETHER_WAY)) as started:
        yield started


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return written(tmp_path / "rows.jsonl", chat_rows())


@pytest.fixture
def said() -> list[str]:
    """All that was printed."""
    return []


@pytest.fixture
def no_key_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Iterator[None]:
    """After every test: the key is in no file below its folder, and in nothing that was printed."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr("executor.hosted.submit.PAUSES", (0.0, 0.0))
    yield
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []
    assert [text for text in said if KEY in text] == []


@pytest.fixture
def hosted(finetune: Callable[..., Answer], said: list[str], no_key_anywhere: None) -> Hosted:
    """`finetune hosted ...`; where a server is named, with its key."""

    def call(*words: object, at: Provider | None = None, key: str = "MY_KEY") -> Answer:
        there = ("--base-url", at.url, "--key-env", key) if at else ()
        answer = finetune("hosted", *words, *there)
        said.extend([answer.out, answer.err])
        return answer

    return call


@pytest.fixture
def submit(hosted: Hosted, rows: Path) -> Hosted:
    def call(at: Provider, *more: object, data: Path = rows, provider: str = "openai") -> Answer:
        return hosted("submit", data, "--provider", provider, *more, "--yes", "--json", at=at)

    return call
