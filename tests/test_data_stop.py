"""A data command that is stopped while it writes, as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("clean", "-o", "out.jsonl"), ("split", "-o", "parts")])
def test_nothing_half_written_is_left_and_a_line_says_so(
    tmp_path: Path, how: signal.Signals, words: tuple[str, ...]
) -> None:
    source = tmp_path / "rows.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for n in range(60_000):
            turns = [{"role": "user", "content": f"question {n * 7919}"}, {"role": "assistant", "content": str(n % 9)}]
            file.write(json.dumps({"messages": turns}) + "\n")
    before = source.read_bytes()
    command, *rest = words
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "data", command, "rows.jsonl", *rest],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    while process.poll() is None and not temporary(tmp_path):
        pass
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines() == ["finetune: Interrupted. What was not finished was not written."]
    assert source.read_bytes() == before
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "home" not in path.parents]
    assert left == ["rows.jsonl"]


def temporary(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.tmp") if folder / "home" not in path.parents]
