"""Hosted jobs against servers that lie, break, or send elsewhere: no row, key or command gets through."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


@pytest.mark.parametrize("name", ["--help; touch PWNED #", "-x", "a b; $(touch PWNED)", "it's `touch PWNED`"])
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
