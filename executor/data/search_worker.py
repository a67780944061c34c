"""A second process that searches texts for personal data while the first reads on: one Python uses one core only."""

from __future__ import annotations

import pickle
import subprocess
import sys
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from executor.data.found import Found

Founds = list[tuple[int, Found]]
"""(place of the text, what was found in it)"""


class SearchWorker:
    """Lists of texts go in, what they hold comes back, in order. It ends when this process does, however that ends."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "executor.data.search_worker"]
        # a session of its own: Ctrl-C in the terminal is this process's to handle
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._thread = ThreadPoolExecutor(1)
        self.close = weakref.finalize(self, _end, self._process, self._thread)
        """ends the process; called at the end of the program too"""

    def submit(self, texts: list[str]) -> Future[Founds | None]:
        """The result is None where the process has died: the texts were not searched."""
        return self._thread.submit(_ask, self._process, texts)


def _ask(process: subprocess.Popen[bytes], texts: list[str]) -> Founds | None:
    assert process.stdin is not None  # noqa: S101 (both are pipes)
    assert process.stdout is not None  # noqa: S101
    try:
        pickle.dump(texts, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        founds: Founds = pickle.load(process.stdout)  # noqa: S301 (from the process we started)
    except (OSError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return founds


def _end(process: subprocess.Popen[bytes], thread: ThreadPoolExecutor) -> None:
    process.kill()  # it holds nothing; a question under way is answered by the end of its pipe
    thread.shutdown(cancel_futures=True)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was not yet sent
                continue
    process.wait()


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the pipe ends."""
    from executor.data.sensitive import first_founds

    while True:
        try:
            texts = pickle.load(questions)  # noqa: S301 (from the process that started this one)
        except EOFError:
            return
        pickle.dump(first_founds(texts), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
