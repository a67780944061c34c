"""Saved chats: what was said in each, a line a turn in `chats/NAME.jsonl`, to list, search and show again.

The graph's own memory is in `chats.sqlite`; these files are for people, and outlive damage to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from agent.models import masked
from tools.base import chats_folder

ENDING = ".jsonl"
UNANSWERED = "*No answer: the turn ended before it.*"
TITLE = 70
"""characters of the first question that name a chat"""


@dataclass(frozen=True)
class Chat:
    name: str
    title: str
    """its first question"""
    changed: float
    """seconds since the epoch"""
    turns: int


def file_of(name: str) -> Path:
    """Any name is a file's: what no file name may hold is written as %XX."""
    return chats_folder() / f"{quote(name, safe=' ')[:200]}{ENDING}"


def keep(name: str, question: str, answer: str | None) -> None:
    """Add a turn, at once whole: one write. Keys of the environment are not written.

    A question is kept when it is asked, without an answer, and again with it: whatever ends the turn, it is not lost.
    """
    line = {"at": datetime.now().astimezone().isoformat(timespec="seconds"), "question": question, "answer": answer}
    file = file_of(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as out:
        torn = out.tell() and not _ends_whole(file)
        out.write(("\n" * bool(torn) + masked(json.dumps(line, ensure_ascii=False)) + "\n").encode())


def _ends_whole(file: Path) -> bool:
    with open(file, "rb") as data:
        data.seek(-1, os.SEEK_END)
        return data.read(1) == b"\n"


def read(name: str) -> list[tuple[str, str]]:
    """What was said, as ("user" | "advisor", text), oldest first; lines that are damaged are left out."""
    said = []
    for turn in _turns(file_of(name)):
        said += [("user", turn["question"]), ("advisor", turn["answer"])]
    return said


def saved(words: str = "") -> list[Chat]:
    """The chats that hold all of these words, in any case; the newest first."""
    found = []
    wanted = words.casefold().split()
    for file in chats_folder().glob(f"*{ENDING}"):
        turns = _turns(file)
        if turns and _holds(turns, wanted, file.stem):
            title = " ".join(turns[0]["question"].split())[:TITLE]
            found.append(Chat(unquote(file.stem), title, file.stat().st_mtime, len(turns)))
    return sorted(found, key=lambda chat: -chat.changed)


def _holds(turns: Iterable[dict[str, Any]], wanted: list[str], name: str) -> bool:
    text = " ".join([name, *(f"{turn['question']} {turn['answer']}" for turn in turns)]).casefold()
    return all(word in text for word in wanted)


def _turns(file: Path) -> list[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            turn = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(turn, dict) and isinstance(turn.get("question"), str):
            _add(found, turn["question"], turn.get("answer"))
    return [{**turn, "answer": turn["answer"] or UNANSWERED} for turn in found]


def _add(turns: list[dict[str, Any]], question: str, answer: Any) -> None:
    """A question that waits, or an answer: to the question of the same words that waits for one."""
    if not isinstance(answer, str):
        turns.append({"question": question, "answer": None})
        return
    waits = (turn for turn in reversed(turns) if turn["answer"] is None and turn["question"] == question)
    asked = next(waits, None)
    if asked is None:
        turns.append({"question": question, "answer": answer})
    else:
        asked["answer"] = answer
