"""What kind of answers the rows ask for, and the system message a table gets from that."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from executor.data.rows import answer, answers_with_call

_LABEL_LENGTH = 80
_MOST_LABELS = 500
_JSON_SHARE = 0.95
_NAME_LENGTH = 40


class Task(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["label", "json", "text"]
    labels: tuple[str, ...] = ()
    """kind label: every label, sorted"""
    longest_answer: int = 0
    """characters"""
    json_keys: tuple[str, ...] = ()
    """kind json: the keys of the answers, the commonest first"""


def describe(rows: Sequence[dict[str, Any]]) -> Task:
    """The kind of the last assistant messages.

    label: short single-line answers of which, on average, each occurs at least twice; json: objects. Of preference
    rows it is text: what is chosen is better than what is rejected, not right. So it is of tool calls, which each
    template writes in its own way.
    """
    tally = Tally()
    tally.add([answer(row) for row in rows])
    pairs, calling = any("rejected" in row for row in rows), sum(map(answers_with_call, rows)) > len(rows) / 2
    return Task(kind="text", longest_answer=tally.longest) if pairs or calling else tally.task()


class Tally:
    """What `describe` says, counted as the answers come; it keeps the answers only while they can be labels."""

    def __init__(self) -> None:
        self.rows = 0
        self.longest = 0
        self.labels: Counter[str] = Counter()
        """how often each answer occurs; empty once there are too many for a closed set"""
        self._few = True
        self._objects = 0
        self._keys: Counter[str] = Counter()

    def add(self, answers: Sequence[str]) -> None:
        self.rows += len(answers)
        self.longest = max(self.longest, max(map(len, answers), default=0))
        if self._few:
            self.labels.update(answers)
            self._few = len(self.labels) <= _MOST_LABELS
            if not self._few:
                self.labels.clear()
        for text in answers:
            parsed = _json(text)
            if isinstance(parsed, dict):
                self._objects += 1
                self._keys.update(parsed.keys())

    def task(self) -> Task:
        if self.rows and self._objects >= _JSON_SHARE * self.rows:
            keys = sorted(self._keys, key=lambda key: (-self._keys[key], key))
            return Task(kind="json", longest_answer=self.longest, json_keys=tuple(keys))
        few = self._few and len(self.labels) <= max(1, self.rows // 2)
        short = self.longest <= _LABEL_LENGTH and not any("\n" in label for label in self.labels)
        if self.rows and few and short:
            return Task(kind="label", labels=tuple(sorted(self.labels)), longest_answer=self.longest)
        return Task(kind="text", longest_answer=self.longest)


def system_prompt(task: Task, user_column: str | None, text: str | None) -> str:
    """The system message for rows without one: the task in the user's own words first, then the allowed answers.

    Empty where nothing is known: a free-text task that nobody described.
    """
    lead = (text or "").strip()
    noun = " ".join((user_column or "").split())[:_NAME_LENGTH] or "text"
    if task.kind == "label":
        separator = "; " if any("," in label for label in task.labels) else ", "
        choices = separator.join(task.labels)
        own = f"{lead}\nCategories: {choices}."
        default = f"Classify the {noun} into exactly one of these categories: {choices}."
        return f"{own if lead else default}\nAnswer with the category only."
    if task.kind == "json":
        first = lead or f"Read the {noun} and answer with a JSON object."
        return f"{first}\nKeys: {', '.join(task.json_keys)}.\nAnswer with the JSON object only."
    return lead


def _json(text: str) -> Any:
    if not text.startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
