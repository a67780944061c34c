"""Hub datasets by name: the real library on a folder, and a hub that is not there."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from executor import fetch_rows
from executor.data.hub import fetched, is_hub
from executor.data.read import open_source
from executor.errors import ServiceError, UserError

COMMIT = "0123456789abcdef"
ROWS = [{"prompt": f"p{n}", "completion": "ä"} for n in range(3)]


def local(name: str, config: str | None, revision: str, streaming: bool) -> Any:
    """As `load_dataset` of a hub name, for a folder: those have no commits."""
    return fetch_rows._loaded(name, config, streaming=streaming)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return folder


def test_a_split_becomes_a_file_named_after_its_commit(dataset: Path, tmp_path: Path) -> None:
    out = fetch_rows.fetch(str(dataset), tmp_path / "out", None, None, COMMIT, local)
    assert out.name == "train-0123456789ab.jsonl"
    assert [record.row for record in open_source(out).records()] == ROWS
    stamp = out.stat().st_mtime_ns
    assert fetch_rows.fetch(str(dataset), tmp_path / "out", None, "train", COMMIT, local).stat().st_mtime_ns == stamp
    assert fetch_rows.fetch(str(dataset), tmp_path / "out", None, "test", COMMIT, local).exists()


def test_an_unknown_split_is_told_with_those_that_exist(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch_rows.fetch(str(dataset), tmp_path / "out", None, "dev", COMMIT, local)
    assert "train" in caught.value.fix
    assert not (tmp_path / "out").exists()


def test_dates_become_text_and_bytes_are_refused_with_nothing_left(tmp_path: Path) -> None:
    def given(value: Any) -> Any:
        return lambda *_, **__: {"train": [{"prompt": "p", "completion": value}]}

    out = fetch_rows.fetch("o/n", tmp_path, None, None, "a", given(datetime.date(2026, 1, 2)))
    assert json.loads(out.read_text())["completion"] == "2026-01-02"
    with pytest.raises(UserError, match="Row 1 holds bytes"):
        fetch_rows.fetch("o/n", tmp_path, None, None, "b", given(b"\x00"))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_dataset_script_is_not_run(dataset: Path, tmp_path: Path) -> None:
    def scripted(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Dataset scripts are no longer supported, but found set.py")

    with pytest.raises(UserError) as caught:
        fetch_rows.fetch("o/n", tmp_path, None, None, COMMIT, scripted)
    assert "not run" in caught.value.fix


class Hub(BaseHTTPRequestHandler):
    status = 404
    code = "RepoNotFound"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("X-Error-Code", self.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("Handler", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (404, "RepoNotFound", UserError, "does not have this dataset"),
        (403, "GatedRepo", UserError, "asked for access"),
        (400, "", ServiceError, "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: type[Hub], status: int, code: str, kind: type[Exception], said: str
) -> None:
    hub.status, hub.code = status, code
    with pytest.raises(kind, match=said) as caught:
        open_source(Path("hf:org/name:train"))
    assert "hf_of_nobody" not in str(vars(caught.value))


def test_without_the_hub_the_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ServiceError) as caught:
        open_source(Path("hf:org/name"))
    assert caught.value.exit_code == 4
    assert "give the file" in caught.value.fix


@pytest.mark.parametrize("name", ["hf:", "hf:../etc", "hf:a/b/c", "hf:a/b:c:d", "hf:-x/y z"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert is_hub(Path(name))
    with pytest.raises(UserError, match="no name of a hub dataset"):
        fetched(Path(name))
