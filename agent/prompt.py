"""The words given to the model around the conversation: rules, the situation so far, the data file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

SITUATION = "# The situation so far, as JSON\n"
DATA = "\n\nData file: "


LONGEST = 8000
"""characters of a message that the rules read"""


def excerpt(text: str) -> str:
    """The text, or of a longer one its beginning and end, where a pasted log says what it is."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}\n{text[-half:]}"


@cache
def rules() -> str:
    return Path(__file__).with_name("prompt.md").read_text(encoding="utf-8")


def system_prompt(situation: dict[str, Any] | None) -> str:
    """The rules, and what the tools learned about the user's situation, which outlives any cut of the messages."""
    known = {key: value for key, value in (situation or {}).items() if value is not None}
    return f"{rules()}\n{SITUATION}{json.dumps(known, ensure_ascii=False)}" if known else rules()


def situation_in(system: str) -> dict[str, Any] | None:
    """The situation that `system_prompt` wrote into the system message, or None."""
    _, found, text = system.rpartition(SITUATION)
    situation: dict[str, Any] | None = json.loads(text) if found else None
    return situation


def with_data(text: str, data: str | None) -> str:
    """The user's message, with the file given beside it."""
    return f"{text}{DATA}{data}" if data else text


def split_data(message: str) -> tuple[str, str | None]:
    """What `with_data` joined: the user's words, and the file or None."""
    text, found, data = message.rpartition(DATA)
    return (text, data) if found and "\n" not in data else (message, None)
