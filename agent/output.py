"""What the command line prints: one JSON object or words on stdout, narration on stderr, and the exit code."""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Any

from tools.base import FinetuneError, Result, printable

PATIENCE = 0.3
"""seconds for a pipe to bring its first byte; the program before it began together with this one"""
MOST = 2_000_000
"""bytes of what is piped that are read; what comes after them is not"""


def piped() -> str:
    """What was piped or redirected into this command; empty at a terminal, or where nothing comes.

    A pipe that somebody only left open is not waited for.
    """
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return ""
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind)):
        return ""
    if stat.S_ISFIFO(kind) and not select.select([sys.stdin], [], [], PATIENCE)[0]:
        return ""
    return sys.stdin.buffer.read(MOST).decode("utf-8", "replace")


def emit(value: dict[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """`value` as the one JSON object, or `text()` for a person."""
    words = json.dumps(value, ensure_ascii=False) if as_json else text()
    safe = words if as_json else printable(words)
    out = terminal(safe) if sys.stdout.isatty() and not as_json else safe
    sys.stdout.write(out.encode("utf-8", "replace").decode("utf-8") + "\n")
    sys.stdout.flush()


def emit_result(result: Result, as_json: bool) -> int:
    """Print a tool's result and return its exit code."""
    emit(result.model_dump(mode="json"), as_json, result.text)
    return result.exit_code


def terminal(markdown: str) -> str:
    """Markdown drawn for this terminal. Text of files and models may stand in it; Rich's own markup is not read."""
    from io import StringIO

    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    out = StringIO()
    Console(file=out, force_terminal=True, width=min(console.width, 100), color_system="auto").print(Markdown(markdown))
    return out.getvalue().rstrip()


def fail(error: FinetuneError, as_json: bool) -> int:
    """One line on stderr, or the error object on stdout."""
    if as_json:
        sys.stdout.write(json.dumps(error.as_json(), ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"finetune: {printable(error.line())}\n")
    return error.exit_code
