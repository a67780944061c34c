"""A process that trains along with a run process: `python -P -m executor.worker [RUN FOLDER RATE PARENT]`.

Without arguments a launcher (torchrun) started it beside the first process, which tells it what to train.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

END_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl"""


def end_with(parent: int) -> None:
    """Ask the system to end this process with the one that started it, even where that is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the run process is gone")


def main(words: list[str]) -> None:
    if words:
        end_with(int(words[3]))  # before torch is imported: that takes seconds
    from executor.run_folder import RunFolder
    from executor.train.workers import follow, work

    if words:
        work(RunFolder(Path(words[0])), Path(words[1]), float(words[2]))
    else:
        follow()


if __name__ == "__main__":
    main(sys.argv[1:])
