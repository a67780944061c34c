"""Few-shot prompts: examples from the training rows as earlier turns of the conversation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from executor.data.rows import answer


def few_shot_messages(
    prompt: list[dict[str, Any]], train: Sequence[dict[str, Any]], shots: int, seed: int
) -> list[dict[str, Any]]:
    """The same examples for every row, placed between the system message and the question."""
    system = [m for m in prompt if m["role"] == "system"]
    question = [m for m in prompt if m["role"] != "system"]
    examples = [m for row in choose(train, shots, seed) for m in row["messages"] if m["role"] != "system"]
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
