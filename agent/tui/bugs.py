"""Where a bug of this program is written down, so that the window outlives it."""

from __future__ import annotations

import traceback
from datetime import datetime

from tools.base import chats_folder


def log_bug() -> str:
    """Append the traceback of the exception being handled to the workspace's log; returns its path."""
    file = chats_folder() / "bugs.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a", encoding="utf-8") as log:
        log.write(f"{datetime.now().isoformat(timespec='seconds')}\n{traceback.format_exc()}\n")
    return str(file)


def bug_line(error: Exception) -> str:
    """The exception being handled as one line for the user, with where it was written."""
    return f"A bug in this program: {error!r}. Written to {log_bug()}"
