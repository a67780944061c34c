"""How many tokens rows have for the model that shall learn them, and what its context would cut off."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from executor.data.batch import Batch
from executor.data.problem import Problem, warning

CountTokens = Callable[[list[dict[str, Any]]], int]
"""tokens of a list of messages, rendered by the model's own chat template"""


class Length:
    """Counts the tokens of every row; names those the context does not hold."""

    def __init__(self, count_tokens: CountTokens, context: int) -> None:
        self._count, self._context = count_tokens, context
        self._tokens = array("q")
        self._lost = 0

    def add(self, batch: Batch) -> list[Problem]:
        found = []
        for messages, line in zip(_messages(batch), batch.lines, strict=True):
            tokens = self._count(messages)
            self._tokens.append(tokens)
            if tokens <= self._context:
                continue
            lost = tokens - self._context
            self._lost += lost
            message = (
                f"the row has {tokens} tokens, the model reads {self._context}: the last {lost}, where the answer "
                "stands, are lost"
            )
            fix = "Shorten the input or take a model with a longer context."
            found.append(warning("too_long", message, fix, line))
        return found

    def finish(self) -> list[Problem]:
        return []

    def summary(self) -> dict[str, Any]:
        """Counted tokens: of all rows, of the median, the 95th percentile and the longest, and how many are cut off."""
        counted = np.frombuffer(self._tokens, dtype=np.int64) if self._tokens else np.zeros(1, np.int64)
        return {
            "total": int(counted.sum()),
            "median": int(np.median(counted)),
            "p95": int(np.percentile(counted, 95)),
            "longest": int(counted.max()),
            "context": self._context,
            "rows_cut": int((counted > self._context).sum()),
            "tokens_cut": self._lost,
        }


def _messages(batch: Batch) -> Sequence[list[dict[str, Any]]]:
    rows: list[list[dict[str, Any]]] = [[] for _ in batch.lines]
    for text, owner, role in zip(batch.texts, batch.owners, batch.roles, strict=True):
        rows[owner].append({"role": role, "content": text})
    return rows
