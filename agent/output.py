"""What the command line prints: one JSON object or words on stdout, narration on stderr, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from tools.base import FinetuneError, Result, printable


def note(text: str) -> None:
    """A line of narration."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


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
