"""How a text that is being written probably goes on: a command, a phrase that starts a workflow, a file's path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from agent.tui.commands import COMMANDS

PHRASES = (
    "Should I fine-tune for ",
    "Format data for fine-tuning: ",
    "Which model to fine-tune for ",
    "Fine-tuning parameters for ",
    "Evaluate the fine-tuned model",
    "Fine-tuning loss not decreasing",
    "Guide me through fine-tuning, from the start",
    "Compare prompting, few-shot and retrieval on ",
    "Check ",
    "Train on ",
    "Did it help?",
)
"""the triggers, and what else people begin with"""
LEAST = 3
"""letters from which a phrase or a bare file name is suggested"""
MOST_ENTRIES = 400
"""entries of a folder that are looked at"""
DATA = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".yaml", ".yml", ".txt", ".log", ".md", ".gz")


def suggest(text: str, folder: Path | None = None) -> str:
    """What would complete `text`; empty where nothing is known."""
    if not text or text.endswith("\n"):
        return ""
    if text.startswith("/") and " " not in text and "/" not in text[1:]:
        name = next((each.name for each in COMMANDS if each.name.startswith(text[1:].lower())), "")
        if name:
            return name[len(text) - 1 :]
    if len(text) >= LEAST:
        for phrase in PHRASES:
            if phrase.lower().startswith(text.lower()):
                return phrase[len(text) :]
    token = text.split()[-1] if not text[-1].isspace() else ""
    return complete_path(token.lstrip("`'\"(@"), folder or Path.cwd()) if token else ""


def complete_path(token: str, folder: Path) -> str:
    """The rest of a path's next part; a folder ends in a slash."""
    start, _, begun = token.rpartition("/")
    if "/" not in token and len(token) < LEAST:
        return ""
    where = Path(os.path.expanduser(f"{start}/" if "/" in token else "."))
    where = where if where.is_absolute() else folder / where
    for name, is_folder in sorted(entries(where)):
        hidden = name.startswith(".") and not begun.startswith(".")
        if name.startswith(begun) and not hidden and (is_folder or name.endswith(DATA)) and name != begun:
            return name[len(begun) :] + ("/" if is_folder else "")
    return ""


def entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder); nothing where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            for entry in islice(found, MOST_ENTRIES):
                yield entry.name, entry.is_dir()
    except (OSError, ValueError):  # ValueError: what no name can hold, such as a null byte
        return
