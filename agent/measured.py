"""What the words say of a measurement: texts to look things up in, test rows, a server and its model, the target."""

from __future__ import annotations

import re
from typing import Any

from agent.route import exists, paths

_QUOTED = r"[`'\"]?([^\s`'\",;]+[^\s`'\",;.?!])"
_DOCUMENTS = re.compile(
    rf"\b(?:documents?|docs|texts|manuals?|articles|wiki|knowledge base|handbook)\s+(?:are\s+)?"
    rf"(?:(?:in|at|from|under|of)\s+)?(?:the\s+(?:folder|file)\s+)?{_QUOTED}",
    re.IGNORECASE,
)
_TEST = re.compile(rf"\btest(?:\s+(?:rows|set|file|data))?\s+(?:(?:is|are|in|from|on|at)\s+)*{_QUOTED}", re.IGNORECASE)
_SERVER = re.compile(r"(https?://[^\s`'\",;<>]+[^\s`'\",;<>.?!])", re.IGNORECASE)
_MODEL = re.compile(rf"\bmodel\s+(?:named\s+|called\s+)?{_QUOTED}", re.IGNORECASE)
_TARGET = re.compile(
    r"\b(?:need|want|target(?: of)?|at least|reach)\s+(?:about\s+)?(\d{1,2}(?:\.\d+)?)\s?%", re.IGNORECASE
)

_ORDER = re.compile(
    r"\b(?:compare|measure|try)\b.{0,60}"
    r"\b(?:prompt(?:s|ing)?|few-?shot|approach(?:es)?|baselines?|retrieval|rag|systems|model|endpoint)\b"
    r"|\bwithout training\b",
    re.IGNORECASE | re.DOTALL,
)
"""an order to measure the cheap ways on a file, and no more"""
_ASKED = re.compile(r"\W*(?:please|(?:can|could|would|will) you)\b", re.IGNORECASE)
"""a request in the form of a question"""


def orders_measurement(text: str) -> bool:
    """Whether the words order to measure; `should we try few-shot first?` does not."""
    asks = text.rstrip().endswith("?") and not _ASKED.match(text)
    return not asks and _ORDER.search(_SERVER.sub(" ", text)) is not None


def data_named(text: str, first: str | None) -> str | None:
    """The file with the examples: the first path that is neither the documents nor the test rows."""
    if first is None:
        return None
    others = {match.group(1) for pattern in (_DOCUMENTS, _TEST) for match in pattern.finditer(text)}
    return next((path for path in paths(_SERVER.sub(" ", text)) if path not in others), first)


def measured_args(text: str, data: str) -> dict[str, Any]:
    """Arguments of `compare` and `go` beside the data file. A file counts only where it is there."""
    found: dict[str, Any] = {}
    for name, pattern in (("documents", _DOCUMENTS), ("test", _TEST)):
        named = (match.group(1) for match in pattern.finditer(text))
        there = next((path for path in named if path != data and exists(path)), None)
        if there:
            found[name] = there
    server, model = _SERVER.search(text), _MODEL.search(_SERVER.sub(" ", text))
    if server and model:
        found |= {"endpoint": server.group(1), "model": model.group(1)}
    if target := _TARGET.search(text):
        found["target"] = float(target.group(1)) / 100
    return found
