"""Few-shot prompts: examples from the training rows as earlier turns of the conversation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from executor.data.rows import answer, asked
from executor.evaluate.retrieve import Texts

Way = Literal["fixed", "nearest"]


class Shots:
    """Examples for a question: the same for every row, or those that are most like it."""

    def __init__(self, train: Sequence[dict[str, Any]], shots: int, seed: int, way: Way = "fixed") -> None:
        self.train = train
        self.count = shots
        self.fixed = choose(train, shots, seed)
        self.texts = Texts([asked(row) for row in train]) if way == "nearest" else None

    def of(self, question: str) -> list[dict[str, Any]]:
        """The rows to show, the one most like the question last; filled up where fewer share a word with it."""
        if self.texts is None:
            return self.fixed
        near = [self.train[place] for place in reversed(self.texts.nearest(question, self.count))]
        rest = [row for row in self.fixed if row not in near]
        return [*rest[: self.count - len(near)], *near]

    def messages(self, prompt: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The prompt with the examples between its system message and its question."""
        return with_examples(prompt, self.of("\n".join(text_of(turn) for turn in prompt if turn["role"] != "system")))


def text_of(turn: dict[str, Any]) -> str:
    return turn["content"] if isinstance(turn.get("content"), str) else ""


def with_examples(prompt: list[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    system = [m for m in prompt if m["role"] == "system"]
    question = [m for m in prompt if m["role"] != "system"]
    examples = [m for row in rows for m in row["messages"] if m["role"] != "system"]
    return [*system, *examples, *question]


def choose(train: Sequence[dict[str, Any]], shots: int, seed: int) -> list[dict[str, Any]]:
    """`shots` training rows, as many different answers as possible, in a fixed random order."""
    order = list(train)
    shuffler = random.Random(seed)  # noqa: S311 (an order, not a secret)
    shuffler.shuffle(order)
    by_answer: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in order:
        by_answer[answer(row)].append(row)
    chosen: list[dict[str, Any]] = []
    depth = 0
    while len(chosen) < min(shots, len(order)):
        chosen += [rows[depth] for rows in by_answer.values() if len(rows) > depth]
        depth += 1
    chosen = chosen[:shots]
    shuffler.shuffle(chosen)
    return chosen
