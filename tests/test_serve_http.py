"""The HTTP side of a served model: what is refused, who waits for whom, and what a web page gets."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import uvicorn

from executor.serve.api import application, joined
from executor.serve.request import ChatRequest, Piece, Refused, read_request


def ask(to: openai.OpenAI, model: str, messages: Any, **more: Any) -> Any:
    return to.chat.completions.create(model=model, messages=messages, **more)


def test_a_request_is_read_or_refused() -> None:
    with pytest.raises(Refused, match="Invalid JSON"):
        read_request(b"{")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    read = read_request(json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode())
    assert read.messages[0]["content"] == "ab"
    assert (read.limit, read.stops) == (1024, ())


@pytest.mark.parametrize(
    "more",
    [
        {"frequency_penalty": 1.5}, {"presence_penalty": 1}, {"logit_bias": {"5": -100}}, {"top_logprobs": 3},
        {"tool_choice": "required"}, {"seed": 2**70}, {"seed": -1}, {"n": 2}, {"logprobs": True},
        {"messages": [{"role": "wizard", "content": "x"}]}, {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ],
)  # fmt: skip
def test_what_would_change_the_answer_is_refused_and_not_left_out(more: dict[str, Any]) -> None:
    plain = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(Refused) as told:
        read_request(json.dumps(plain | more).encode())
    assert told.value.status == 400


def test_neutral_values_and_the_new_name_of_the_system_message_are_taken() -> None:
    neutral = {"frequency_penalty": 0.0, "logit_bias": {}, "tool_choice": "none", "user": "u", "metadata": {"a": "b"}}
    asked = {"model": "m", "messages": [{"role": "developer", "content": None}], "tools": [{}]} | neutral
    read = read_request(json.dumps(asked).encode())
    assert read.messages == [{"role": "system", "content": ""}]
    assert read.offered is None


class Slow:
    """Answers a word at a time when it is let, and knows who left."""

    names = ("slow",)

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.go = threading.Event()

    def prepare(self, request: ChatRequest) -> str:
        return str(request.messages[0]["content"])

    def answer(self, request: ChatRequest, prepared: str, emit: Any, stop: threading.Event) -> None:
        self.begun.append(prepared)
        while prepared == "long" and not stop.wait(0.01):
            pass
        if prepared == "broken":
            emit(Piece("half "))
            raise ZeroDivisionError
        if not stop.is_set():
            emit(Piece(f"{prepared}."))
            emit(Piece("", "stop", 1, 1))


@pytest.fixture
def slow() -> Iterator[tuple[Slow, str]]:
    """The HTTP side alone, on a port of its own."""
    answerer, listening = Slow(), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(answerer, None), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield answerer, f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(20)


def test_a_client_that_leaves_holds_up_nobody_streaming_or_not(slow: tuple[Slow, str]) -> None:
    answerer, url = slow
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as to:
        for stream in (False, True):
            with pytest.raises(openai.APITimeoutError):
                ask(to.with_options(timeout=0.5), "slow", [{"role": "user", "content": "long"}], stream=stream)
        assert ask(to, "slow", [{"role": "user", "content": "x"}]).choices[0].message.content == "x."
    assert answerer.begun == ["long", "long", "x"]


def test_sixty_clients_are_answered_in_their_order(slow: tuple[Slow, str]) -> None:
    answerer, url = slow
    said: list[str] = []

    def one(number: int) -> None:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as to:
            parts = ask(to, "slow", [{"role": "user", "content": str(number)}], stream=True)
            said.append("".join(part.choices[0].delta.content or "" for part in parts))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == sorted(f"{number}." for number in range(60))
    assert len(answerer.begun) == 60


def test_an_answer_that_breaks_off_says_so(slow: tuple[Slow, str], capfd: pytest.CaptureFixture[str]) -> None:
    _, url = slow
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as to:
        asked = [{"role": "user", "content": "broken"}]
        with pytest.raises(openai.InternalServerError, match="The model failed"):
            ask(to, "slow", asked)
        with pytest.raises(openai.APIError, match="The model failed"):
            list(ask(to, "slow", asked, stream=True))
        assert to.models.retrieve("slow").id == "slow"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_without_a_key_no_name_but_this_machine_s_is_answered(slow: tuple[Slow, str]) -> None:
    """A web page can make a name of its own point here."""
    for name, status in (("evil.example", 403), ("localhost", 200)):
        page = urllib.request.Request(f"{slow[1]}/models", headers={"host": f"{name}:80"})
        if status == 200:
            assert urllib.request.urlopen(page).status == 200
        else:
            with pytest.raises(urllib.error.HTTPError, match=str(status)):
                urllib.request.urlopen(page)


def test_parts_of_tool_calls_become_whole_ones() -> None:
    parts = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "find", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"q": '}}, {"index": 1, "id": "b", "function": {"name": "stop"}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]  # fmt: skip
    assert [(call["id"], call["function"]) for call in joined(parts)] == [
        ("a", {"name": "find", "arguments": '{"q": 1}'}), ("b", {"name": "stop", "arguments": ""})
    ]  # fmt: skip
