"""What is piped in: read to its end however late it comes, with both its ends, and nothing is left out silently."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from agent import piped
from agent.piped import HALF, NOTHING, SILENT, WAITING, Ends

LOG = "step 10 loss 2.1\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a pipe")


class Pipe:
    """A pipe on this process's stdin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, self.writer = os.pipe()
        self.stdin = os.fdopen(reader)
        monkeypatch.setattr(sys, "stdin", self.stdin)
        monkeypatch.setattr(piped, "PATIENCE", 0.05)
        monkeypatch.setattr(piped, "LONGEST", 0.3)

    def write_and_close(self, text: str, seconds: float = 0.2) -> None:
        """After so long."""

        def write() -> None:
            time.sleep(seconds)
            os.write(self.writer, text.encode())
            self.close()

        threading.Thread(target=write).start()

    def close(self) -> None:
        os.close(self.writer)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    made = Pipe(monkeypatch)
    yield made
    made.stdin.close()


@linux
@pytest.mark.parametrize("by", ["", "timeout 50 "])
def test_what_is_piped_in_late_is_read(tmp_path: Path, by: str) -> None:
    """The log is written only when the question says that it waits, however slow this machine is."""
    (tmp_path / "train.log").write_text(LOG)
    late = "(for turn in $(seq 200); do [ -s said ] && break; sleep 0.1; done; cat train.log)"
    done = subprocess.run(
        ["sh", "-c", f"{late} | {by}{shlex.quote(sys.executable)} -m agent ask 'why?' --json 2>said"],
        capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, stdin=subprocess.DEVNULL,
        env={**os.environ, "FINETUNE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert json.loads(done.stdout)["diagnoses"][0]["cause_class"] == "memory"
    assert (tmp_path / "said").read_text().strip() == WAITING


@linux
def test_ctrl_c_ends_the_waiting_with_its_own_code_and_words(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as sleeps:
        ask = subprocess.Popen(
            [sys.executable, "-m", "agent", "ask", "why?", "--json"], stdin=sleeps.stdout, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "FINETUNE_HOME": str(tmp_path)},
        )  # fmt: skip
        assert sleeps.stdout is not None
        sleeps.stdout.close()  # else this process holds the pipe, too
        assert ask.stderr is not None
        assert ask.stderr.readline().strip() == WAITING
        ask.send_signal(signal.SIGINT)
        out, _ = ask.communicate(timeout=30)
        sleeps.kill()
    assert (ask.returncode, json.loads(out)["error"]["what"]) == (130, "Interrupted")


@linux
def test_a_pipeline_is_waited_for_longer_than_any_other_pipe(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 1; echo the end"], stdout=pipe.writer)
    pipe.close()
    assert piped.piped() == "the end\n"
    assert capsys.readouterr().err.strip() == WAITING
    child.wait()


@linux
def test_a_pipe_that_a_program_above_left_open_is_told_and_left(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert piped.piped() == ""
    assert capsys.readouterr().err.strip() == NOTHING
    pipe.close()


@linux
def test_a_pipe_that_falls_silent_gives_what_came(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    os.write(pipe.writer, b"step 1\n")
    assert piped.piped() == "step 1\n"
    assert capsys.readouterr().err.splitlines() == [WAITING, SILENT]
    pipe.close()


def test_where_no_writer_is_seen_it_is_waited_a_while(
    pipe: Pipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piped, "LONGEST", 20)

    def asked(stdin: int) -> str:
        pipe.write_and_close("step 1\nstep 2\n")
        return "unseen"

    monkeypatch.setattr(piped, "writer", asked)
    assert piped.piped() == "step 1\nstep 2\n"
    assert capsys.readouterr().err.strip() == WAITING


def test_where_no_writer_is_seen_and_none_writes_the_end_is_told(
    pipe: Pipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piped, "writer", lambda stdin: "unseen")
    assert piped.piped() == ""
    assert capsys.readouterr().err.splitlines() == [WAITING, NOTHING]
    pipe.close()


def test_a_socket_is_read_as_a_pipe_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "stdin", ours.makefile())
    assert piped.piped() == ""
    assert capsys.readouterr().err.strip() == NOTHING
    theirs.sendall(b"a log\n")
    theirs.close()
    assert piped.piped() == "a log\n"
    assert capsys.readouterr().err == ""
    ours.close()


def test_of_a_long_text_both_ends_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*(f"step {number} loss 2.1 é\n" for number in range(200_000)), *LOG.splitlines(keepends=True)]
    (tmp_path / "long.log").write_text("".join(lines), encoding="utf-8")
    with open(tmp_path / "long.log", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        text = piped.piped()
    kept = text.splitlines(keepends=True)
    place = next(place for place, line in enumerate(kept) if "left out" in line)
    last = len(kept) - place - 1
    assert (kept[:place], kept[place + 1 :]) == (lines[:place], lines[-last:]), "whole lines"
    assert kept[place] == f"[... {len(''.join(lines[place:-last]).encode()):,} bytes left out ...]\n"
    assert HALF * 2 - 100 < len(text.encode()) < HALF * 2 + 100


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(min_value=1, max_value=40))
def test_no_more_than_thrice_a_half_is_held(parts: list[bytes], half: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(piped, "HALF", half)
        ends, whole = Ends(), b"".join(parts)
        for part in parts:
            ends.add(part)
            assert len(ends.head) + len(ends.tail) <= 3 * half
            assert len(ends.head) + len(ends.tail) + ends.dropped <= len(whole)
        text = ends.text()
    if len(whole) <= 2 * half:
        assert text == whole.decode("utf-8", "replace")
    else:
        assert "bytes left out" in text
