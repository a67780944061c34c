"""Files that are whole or absent, also when a signal comes between any two instructions."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from executor.errors import UserError
from executor.files import replacing_all, uninterrupted


class Interrupting:
    """Sends Ctrl-C before the n-th instruction that runs in `executor.files` or in what it stands on."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __enter__(self) -> Interrupting:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if Path(frame.f_code.co_filename).name not in ("files.py", "contextlib.py"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
        return self._trace


def write_pair(folder: Path) -> None:
    with replacing_all([folder / "a", folder / "b"]) as temporaries:
        for temporary in temporaries:
            temporary.write_text("new")


def test_a_signal_between_any_two_instructions_leaves_all_files_or_none(tmp_path: Path) -> None:
    before = sys.gettrace()
    if before is not None:
        pytest.skip("something else traces (a debugger or coverage)")
    seen = set()
    for at in range(1, 20_000):
        folder = tmp_path / str(at)
        folder.mkdir()
        interrupting = Interrupting(at)
        with contextlib.suppress(KeyboardInterrupt), interrupting:
            write_pair(folder)
        gc.collect(0)
        left = tuple(sorted(path.name for path in folder.iterdir()))
        assert left in ((), ("a", "b")), f"instruction {at}"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        seen.add(left)
        if interrupting.left > 0:  # the block ended before that instruction
            break
    else:
        pytest.fail("the block never ended")
    assert at > 200  # it did go through the code
    assert seen == {(), ("a", "b")}


def test_a_signal_in_the_block_is_raised_at_its_end() -> None:
    done = []

    def block() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [True]


def test_a_fault_in_the_block_keeps_the_files_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with contextlib.suppress(ZeroDivisionError), replacing_all([tmp_path / "a", tmp_path / "b"]) as (first, _):
        first.write_text(f"new {1 / 0}")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="Cannot write b"), replacing_all([tmp_path / "a", tmp_path / "b"]):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_files_are_written_from_a_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=write_pair, args=(tmp_path,))
    thread.start()
    thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
