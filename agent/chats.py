"""Saved chats: what was said in each, a line a turn in `chats/NAME.jsonl`, to list, search and show again.

The graph's own memory is in `chats.sqlite`; these files are for people, and outlive damage to it.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from agent.models import masked
from tools.base import UserError, chats_folder

ENDING = ".jsonl"
UNANSWERED = "*No answer: the turn ended before it.*"
NOT_YET = "*Not answered yet.*"
"""of the last question: perhaps another window answers it just now"""
TITLE = 70
"""characters of the first question that name a chat"""
LONGEST = 200
"""characters of a file's name; a longer one is cut and told from others by a hash of the whole"""


@dataclass(frozen=True)
class Chat:
    name: str
    title: str
    """its first question"""
    changed: float
    """seconds since the epoch"""
    turns: int


@dataclass(frozen=True)
class _Looked:
    """What the search needs of a file, as long as the file stays as it was."""

    changed: tuple[int, int]
    """when, in nanoseconds, and bytes"""
    chat: Chat | None
    """None: no turn of it can be read"""
    words: str
    """all that was said, and the name, in lower case"""


_looked: dict[Path, _Looked] = {}


def file_of(name: str) -> Path:
    """Any name is a file's: what no file name may hold is written as %XX. No two names share one."""
    written = quote(name, safe=" ")
    if len(written) > LONGEST:
        # once they were only cut, some within a %XX: such a file is listed under its own name
        cut_once = (
            len(name) == LONGEST and quote(name, safe=" %") == name and (chats_folder() / (name + ENDING)).exists()
        )
        written = name if cut_once else f"{written[:LONGEST]}-{sha256(name.encode()).hexdigest()[:12]}"
    return chats_folder() / f"{written}{ENDING}"


def keep(name: str, question: str, answer: str | None) -> None:
    """Add a turn, at once whole: one write. Keys of the environment are not written.

    A question is kept when it is asked, without an answer, and again with it: whatever ends the turn, it is not lost.
    """
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    line = {"at": at, "chat": name, "question": question, "answer": answer}
    file = file_of(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as out:
        torn = out.tell() and not _ends_whole(file)
        out.write(("\n" * bool(torn) + masked(json.dumps(line, ensure_ascii=False)) + "\n").encode())


def take(name: str) -> IO[bytes]:
    """The chat's file, locked until it is closed: two turns at once would each lose the other to the mind.

    Raises UserError where another window holds it.
    """
    file = file_of(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    held = open(file, "ab")  # noqa: SIM115 (it is held for as long as a turn takes)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        fix = "Wait until it has, or begin another chat."
        raise UserError("Another window is answering in this chat", name, fix) from error
    except OSError:  # a file system without locks
        pass
    return held


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
    wanted = words.casefold().split()
    files = set(chats_folder().glob(f"*{ENDING}"))
    for known in list(_looked):
        if known not in files:
            _looked.pop(known, None)
    found = [each.chat for each in map(_look, files) if each.chat and all(word in each.words for word in wanted)]
    return sorted(found, key=lambda chat: (chat.changed, chat.name), reverse=True)


def _look(file: Path) -> _Looked:
    """Each key stroke of a search looks at every chat: a file is read again only where it was changed."""
    try:
        now = file.stat()
    except OSError:
        return _Looked((0, 0), None, "")
    changed = (now.st_mtime_ns, now.st_size)
    known = _looked.get(file)
    if known is None or known.changed != changed:
        known = _looked[file] = _Looked(changed, *_read(file, now.st_mtime))
    return known


def _read(file: Path, changed: float) -> tuple[Chat | None, str]:
    turns = _turns(file)
    if not turns:
        return None, ""
    names = [turns[0].get("chat"), unquote(file.stem)]
    name = next((each for each in names if isinstance(each, str) and file_of(each) == file), file.stem)
    title = " ".join(turns[0]["question"].split())[:TITLE]
    said = " ".join([name, *(f"{turn['question']} {turn['answer']}" for turn in turns)])
    return Chat(name, title, changed, len(turns)), said.casefold()


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
            _add(found, {"chat": turn.get("chat"), "question": turn["question"], "answer": turn.get("answer")})
    return [{**turn, "answer": turn["answer"] or (NOT_YET if turn is found[-1] else UNANSWERED)} for turn in found]


def _add(turns: list[dict[str, Any]], turn: dict[str, Any]) -> None:
    """A question that waits, or an answer: to the question of the same words that waits for one."""
    answer = turn["answer"] if isinstance(turn["answer"], str) else None
    waits = (each for each in reversed(turns) if each["answer"] is None and each["question"] == turn["question"])
    asked = next(waits, None) if answer is not None else None
    if asked is None:
        turns.append({**turn, "answer": answer})
    else:
        asked["answer"] = answer
