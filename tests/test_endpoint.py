"""A model on an OpenAI-compatible server as a system under test, over real HTTP on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Server, serving
from conftest import Answer, chat_rows, write_examples

from executor.errors import FinetuneError, Interrupted, ServiceError, UserError
from executor.evaluate.endpoint import Endpoint
from executor.evaluate.metrics import same_calls
from executor.files import append_jsonl, read_jsonl
from executor.spec import EndpointSpec
from tools.judging import endpoint_of

Finetune = Callable[..., Answer]
KEY = "sk-test-3f9a1c77"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def endpoint(server: Server) -> Endpoint:
    return Endpoint(EndpointSpec(name="m", url=server.url, model="m"))


def ask(server: Server, kept: Path, count: int = 6) -> list[str]:
    asked = [row["messages"][:-1] for row in chat_rows(count)]
    return [reply.text for reply in endpoint(server).answers(asked, 16, kept, lambda done: None)]


def test_replies_come_in_the_order_of_the_questions(server: Server, tmp_path: Path) -> None:
    assert ask(server, tmp_path / "kept", 30) == [row["messages"][-1]["content"] for row in chat_rows(30)]
    assert all(request["temperature"] == 0 and request["max_tokens"] == 16 for request in server.asked)


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.faults = [(429, {"error": {"message": "slow down"}}), (500, {"error": {"message": "oops"}})]
    assert len(ask(server, tmp_path / "kept")) == 6
    assert len(server.asked) == 8


@pytest.mark.parametrize(
    ("option", "message"),
    [("max_tokens", "Unsupported parameter: 'max_tokens'"), ("temperature", "temperature does not support 0")],
)
def test_an_option_that_it_refuses_is_left_out(server: Server, tmp_path: Path, option: str, message: str) -> None:
    server.faults = [(400, {"error": {"message": message}})]
    assert len(ask(server, tmp_path / "kept", 40)) == 40
    assert option in server.asked[0]
    assert option not in server.asked[-1], "several were under way when it said so, later ones know"


@pytest.mark.parametrize(
    ("status", "message", "error", "says"),
    [
        (401, "bad key", UserError, "refuses the key"),
        (404, "no such model", UserError, "no such model"),
        (400, "context too long", UserError, "context too long"),
        (503, "down for today", ServiceError, "down for today"),
    ],
)
def test_what_it_will_not_do_is_one_line(
    server: Server, tmp_path: Path, status: int, message: str, error: type[FinetuneError], says: str
) -> None:
    server.always = (status, {"error": {"message": message}})
    with pytest.raises(error) as caught:
        ask(server, tmp_path / "kept")
    assert says in caught.value.what
    assert "\n" not in caught.value.line()


def test_answers_that_came_are_not_paid_for_again(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    reply = {"text": "kept", "prompt_tokens": 1, "output_tokens": 1, "seconds": 0.1}
    append_jsonl(kept, {"row": 2, "reply": reply})
    found = ask(server, kept)
    assert found[2] == "kept"
    assert len(server.asked) == 5
    assert {line["row"] for line in read_jsonl(kept)} == set(range(6))


def test_an_endpoint_is_compared_with_the_local_systems(
    server: Server, finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OWN_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-host")
    data = write_examples(tmp_path / "things.csv")
    words = ("--systems", "zero_shot", "--endpoint", server.url, "--model", "big/model", "--base-model", tiny_model)
    words += ("--key-env", "OWN_KEY")
    answer = finetune("compare", data, *words, "--target", "0.9", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["scores"]["big-model"]["task_accuracy"]["value"] == 1.0
    assert answer.json["decision"]["approach"] == "prompt"
    assert answer.json["comparison"]["a"] == "big-model"
    costs = answer.json["costs"]["big-model"]
    assert (costs["prompt_tokens"], costs["output_tokens"], costs["usd"]) == (20_000, 2000, None)
    assert server.keys == {f"Bearer {KEY}"}
    files = [file for file in Path(answer.json["run"]).rglob("*") if file.is_file()]
    assert not [file for file in files if KEY.encode() in file.read_bytes()], "the key is nowhere"
    assert not [file for file in files if file.suffix == ".part"]


def test_an_endpoint_is_judged_against_a_base_model(
    server: Server, finetune: Finetune, tmp_path: Path, tiny_model: Path, jobs_here: None
) -> None:
    data = write_examples(tmp_path / "things.csv")
    words = ("--endpoint", server.url, "--model", "m", "--data", data, "--base-model", tiny_model)
    answer = finetune("evaluate", *words, "--json")
    assert (answer.code, answer.json["verdict"]) == (0, "ship"), answer.err
    assert (answer.json["comparison"]["a"], answer.json["comparison"]["b"]) == ("m", "zero_shot")
    assert answer.json["regression"] == {}
    told = (Path(answer.json["run"]) / "report.md").read_text()
    assert "fine-tuned" not in told.casefold(), "nothing was tuned"
    assert f"finetune evaluate --data {data} --endpoint {server.url} --model m" in told
    assert "M is better on" in told
    assert Path(answer.json["report"]).is_file()


def test_an_endpoint_needs_a_model_and_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FinetuneError, match="URL and its model"):
        endpoint_of("http://127.0.0.1:1/v1", None)
    with pytest.raises(UserError, match="no key"):
        endpoint_of("https://api.openai.com/v1", "m")
    with pytest.raises(UserError, match="no key"):
        endpoint_of("https://api.example.com/v1", "m", "OWN_KEY")
    with pytest.raises(FinetuneError, match="no URL"):
        endpoint_of("http://[::1", "m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert endpoint_of("http://localhost:1/v1", "few_shot").name == "endpoint-few_shot", "no system's name is taken"


@pytest.mark.parametrize(
    ("url", "named", "own", "key"),
    [
        ("https://api.openai.com/v1", None, None, "OPENAI_API_KEY"),
        ("https://api.example.com/v1", None, None, "Which key is for api.example.com"),
        ("https://api.example.com/v1", "none", None, None),
        ("https://api.example.com/v1", "OWN_KEY", None, "OWN_KEY"),
        ("https://api.example.com/v1", None, "https://api.example.com/v1", "OPENAI_API_KEY"),
        ("http://api.example.com/v1", "OWN_KEY", None, "unencrypted"),
        ("http://127.0.0.1:8080/v1", None, None, None),
        ("http://127.0.0.1:8080/v1", "OWN_KEY", None, "OWN_KEY"),
    ],
)
def test_a_key_goes_to_its_own_host_alone(
    url: str, named: str | None, own: str | None, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OWN_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if own:
        monkeypatch.setenv("OPENAI_BASE_URL", own)
    if (key and " " in key) or key == "unencrypted":
        with pytest.raises(UserError, match=key):
            endpoint_of(url, "m", named)
    else:
        assert endpoint_of(url, "m", named).key == key


def test_a_model_that_thinks_first_is_given_room(server: Server) -> None:
    thought = server.reply("")
    thought["choices"][0]["finish_reason"] = "length"
    server.faults = [(200, thought)]
    asked, model = [row["messages"][:-1] for row in chat_rows(3)], endpoint(server)
    assert all(model.answer(messages, 16).text for messages in asked)
    assert server.asked[0]["max_tokens"] == 16
    assert all(request["max_tokens"] > 4096 for request in server.asked[1:]), "asked again, and so from then on"
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "no such route"}}, "no such route"),
        ({"choices": None}, "no chat answer"),
        ({"choices": []}, "no chat answer"),
        ([1, 2], "no chat answer"),
    ],
)
def test_what_is_no_answer_is_told_and_not_scored(server: Server, tmp_path: Path, body: Any, says: str) -> None:
    server.always = (200, body)
    with pytest.raises(ServiceError, match=says):
        ask(server, tmp_path / "kept")


def test_odd_contents_are_texts(server: Server) -> None:
    parts, half = server.reply(""), server.reply("cut \ud83d")
    parts["choices"][0]["message"]["content"] = [{"type": "text", "text": "in parts"}]
    server.faults = [(200, parts), (200, half)]
    turns = [{"role": "user", "content": "Which?"}]
    assert endpoint(server).answer(turns, 16).text == "in parts"
    assert endpoint(server).answer(turns, 16).text == "cut ?"


def test_a_model_without_room_to_think_keeps_what_it_said(server: Server, tmp_path: Path) -> None:
    thought = server.reply("")
    thought["choices"][0]["finish_reason"] = "length"
    server.faults = [(200, thought), (400, {"error": {"message": "context length is 4096"}})]
    assert len(ask(server, tmp_path / "kept", 1)) == 1


def test_a_silent_server_holds_no_process(tmp_path: Path) -> None:
    """A stop ends the process though a request is still under way."""
    code = (
        "import socket, sys, pathlib\n"
        "from executor.evaluate.endpoint import Endpoint; from executor.spec import EndpointSpec\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "spec = EndpointSpec(name='m', url=f'http://127.0.0.1:{s.getsockname()[1]}/v1', model='m')\n"
        "def report(done): raise SystemExit(7)\n"
        "asked = [[{'role': 'user', 'content': 'x'}]]\n"
        f"Endpoint(spec).answers(asked, 8, pathlib.Path({str(tmp_path / 'kept')!r}), report)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 7


def test_an_answer_that_was_cut_and_tokens_that_are_not_told(server: Server) -> None:
    cut = server.reply("so far")
    cut["choices"][0]["finish_reason"] = "length"
    cut["usage"] = None
    server.faults = [(200, cut)]
    reply = endpoint(server).answer([{"role": "user", "content": "Which?"}], 16)
    assert (reply.text, reply.cut, reply.prompt_tokens, reply.output_tokens) == ("so far", True, None, None)


def test_tools_are_offered_and_calls_are_answers(server: Server) -> None:
    called = server.reply("")
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    called["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    server.faults = [(200, called)]
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "And there?"}], "weight": 0},
        {
            "role": "assistant",
            "weight": 0,
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "B"}}}],
        },
        {"role": "tool", "name": "weather", "content": "rain"},
    ]
    tools = [{"name": "weather", "description": "d", "parameters": {"type": "object"}, "examples": 3}]
    reply = endpoint(server).answer(turns, 16, tools)
    assert same_calls(reply.text, json.dumps([call])) == 1.0
    sent = server.asked[0]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
    ]
    assert sent["messages"][0] == {"role": "user", "content": "And there?"}
    made = sent["messages"][1]["tool_calls"][0]
    assert (made["type"], json.loads(made["function"]["arguments"])) == ("function", {"city": "B"})
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": made["id"], "content": "rain"}


def test_half_a_line_of_a_crash_spoils_nothing(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(
        '{"row": 0, "reply": {"text": "a", "prompt_tokens": 1, "output_tokens": 1, "seconds": 1}}\n{"row": 1, "re'
    )
    assert ask(server, kept)[0] == "a"
    assert ask(server, kept)[0] == "a"
    assert len(server.asked) == 5


def test_a_stop_is_heard_while_a_server_is_silent(server: Server, tmp_path: Path) -> None:
    looks: list[int] = []

    def report(done: int) -> None:
        looks.append(done)
        if len(looks) == 2:
            raise Interrupted("stopped", "here", "")

    asked = [row["messages"][:-1] for row in chat_rows(40)]
    with pytest.raises(Interrupted):
        endpoint(server).answers(asked, 16, tmp_path / "kept", report)
    assert len(server.asked) < 40
