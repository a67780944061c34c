"""From words to an intent of the closed set: the weighted patterns of route.yaml, and likeness to utterances."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

from knowledge.classify import Classifier
from knowledge.load import read_yaml
from knowledge.rows import Intent

LIKENESS = 1.3
"""What likeness to the utterances counts beside the patterns' weights; chosen on questions of our own."""

FOREIGN, OUTSIDE = 4.0, 1.0
"""What a word of another field (images, forecasting) gives to `other`, and a text without a word of our field."""

OWN_PATTERN = 1.0
"""The least weight of patterns that an intent needs in a text without our field's words."""

MOST = 4_000
"""So many characters are read; a pasted log says what it is in its first and last lines."""

_TASK = re.compile(
    r"\b(?:fine-?\s?tun(?:e|ing)|train(?:ing)?|parameters|model)\b[^.?!]*?\bfor\s+"
    r"(?:(?:a|an|my|our|the)\s+)?([^.?!,;\n]{3,80})",
    re.I,
)
_PATH = re.compile(
    r"""["'`]([^"'`\n]+\.(?:jsonl?|csv|tsv|xlsx?|parquet|ya?ml|txt|log|gguf))["'`]|"""
    r"""((?:[~.]{0,2}/)?[\w./-]+\.(?:jsonl?|csv|tsv|xlsx?|parquet|ya?ml|txt|log|gguf))\b|"""
    r"""(?<![\w/:])(?!(?<=[<{\[])/[^/<>{}\[\]\n]*[>}\]])"""  # the end of a tag: [/INST], </think>, {{/each}}
    r"""((?:~|\.{1,2})?/(?:[\w.+@%~=-]+/)*[\w.+@%~=-]*[\w+@%~=-])/?(?![\w/+@%~=-])""",
    re.I,
)


@dataclass(frozen=True)
class Route:
    """What a text asks for."""

    intent: Intent
    task: str | None = None
    """what the model is for, where the text says so"""
    path: str | None = None
    """the first file or folder named in the text"""
    workflow: bool = False
    """the text is only a call to begin: start the guided workflow"""


@dataclass(frozen=True)
class _Table:
    domain: re.Pattern[str]
    foreign: re.Pattern[str]
    workflow: re.Pattern[str]
    quick: tuple[tuple[Intent, re.Pattern[str]], ...]
    weighted: tuple[tuple[Intent, re.Pattern[str], float], ...]


def route(text: str) -> Route:
    """The intent of `text`, with the task and the path it names. Anything unknown is `other`."""
    words = " ".join(text.split())
    words = words if len(words) <= MOST else f"{words[: MOST // 2]} {words[-MOST // 2 :]}"
    table = _table()
    path = _first_path(words)
    task = _task(words)
    if table.workflow.search(words):
        return Route("decide", task, path, workflow=True)
    for intent, pattern in table.quick:
        if pattern.search(words):
            return Route(intent, task, path)
    return Route(_intent(words, text), task, path)


def scores(text: str) -> dict[Intent, float]:
    """The sum of weights for each intent, before any threshold, in the order of route.yaml."""
    weighted = _table().weighted
    sums: dict[Intent, float] = {intent: 0.0 for intent, _, _ in weighted}
    for intent, pattern, weight in weighted:
        if pattern.search(text):
            sums[intent] += weight
    return sums


def _intent(words: str, text: str) -> Intent:
    """Outside the field's words an intent needs a pattern of its own: likeness alone finds one in anything."""
    if "Traceback (most recent call last)" in text:
        return "debug"
    table, sums = _table(), scores(words)
    alike = _learnt().scores(words)
    if not alike:
        return "other"
    inside = table.domain.search(words) is not None
    sums = {
        intent: weight + LIKENESS * alike[intent] if weight >= OWN_PATTERN or inside or intent == "other" else -math.inf
        for intent, weight in sums.items()
    }
    if table.foreign.search(words):
        sums["other"] += FOREIGN
    if not inside:
        sums["other"] += OUTSIDE
    return max(sums, key=lambda intent: sums[intent])


@cache
def _learnt() -> Classifier[Intent]:
    """From every utterance of `utterances/*.yaml`."""
    examples: defaultdict[Intent, list[str]] = defaultdict(list)
    for path in sorted(Path(__file__).with_name("utterances").glob("*.yaml")):
        for intent, texts in read_yaml(path).items():
            examples[_known(intent)] += texts
    return Classifier(examples, alpha=0.5)


def _task(words: str) -> str | None:
    found = _TASK.search(words)
    return found.group(1).strip() if found else None


def _first_path(words: str) -> str | None:
    return next(iter(paths(words)), None)


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name; words that no file can have for a name are none."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError):
        return False


def paths(words: str) -> list[str]:
    """Every path that a text names."""
    found = (next((group for group in match.groups() if group), None) for match in _PATH.finditer(words))
    return [path for path in found if path]


@cache
def _table() -> _Table:
    data: dict[str, Any] = read_yaml(Path(__file__).with_name("route.yaml"))
    return _Table(
        domain=_joined(data["domain"]),
        foreign=_joined(data["foreign"]),
        workflow=_joined(data["workflow"]),
        quick=tuple((_known(name), re.compile(pattern, re.I)) for name, pattern in data["quick"].items()),
        weighted=tuple(
            (_known(name), re.compile(pattern, re.I), float(weight))
            for name, rows in data["intents"].items()
            for pattern, weight in rows
        ),
    )


def _joined(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I)


def _known(name: str) -> Intent:
    if name not in get_args(Intent):
        raise ValueError(f"route.yaml: unknown intent {name}")
    return cast(Intent, name)
