"""The process that searches for personal data beside the reading one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil

from executor.data import sensitive
from executor.data.batch import Batch
from executor.data.search_worker import SearchWorker

KEY = "ghp_" + "a1B2c3D4e5F6" * 3


def batches(count: int) -> list[Batch]:
    asked = [f"write to jane{n}@example.com" if n % 3 else f"hi {n}" for n in range(count)]
    turns = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": KEY if n == 5 else "ok"}]}
        for n, text in enumerate(asked)
    ]
    return [Batch.of([turn], [n + 1]) for n, turn in enumerate(turns)]


def test_the_worker_finds_what_the_process_itself_finds_in_order() -> None:
    judge = sensitive.Sensitive()
    found = [problem for batch in batches(40) for problem in judge.add(batch)]
    assert judge._worker is not None
    found += judge.finish()
    assert judge._worker is None
    assert found == [problem for batch in batches(40) for problem in sensitive.judge(batch)]
    assert {problem.code for problem in found} == {"pii_email", "secret"}


def test_a_worker_that_dies_costs_no_find() -> None:
    judge = sensitive.Sensitive()
    found = []
    for number, batch in enumerate(batches(40)):
        if number == 20 and judge._worker is not None:
            judge._worker._process.kill()
        found += judge.add(batch)
    found += judge.finish()
    assert found == [problem for batch in batches(40) for problem in sensitive.judge(batch)]


def test_a_dead_worker_says_that_texts_were_not_searched() -> None:
    worker = SearchWorker()
    assert worker.submit([KEY]).result() == sensitive.first_founds([KEY])
    worker._process.kill()
    worker._process.wait()
    assert worker.submit([KEY]).result() is None
    worker.close()


def test_it_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, signal, sys\n"
        "from executor.data.search_worker import SearchWorker\n"
        "worker = SearchWorker(); worker.submit(['a']).result()\n"
        "print(worker._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(parent.stdout)).wait(timeout=60)
