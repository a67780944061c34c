"""Rows whose input occurs, or nearly, in another file: what a test set must not share with the training set."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from executor.data.batch import Batch
from executor.data.near import NearDuplicates
from executor.data.problem import Problem, warning


class Overlap:
    """A judge that knows the other file's inputs."""

    def __init__(self, name: str, others: Iterable[Batch]) -> None:
        self._name = name
        self._near = NearDuplicates()
        self._lines = array("q")
        for batch in others:
            self._near.add(batch.asked)
            self._lines.extend(batch.lines)
        self._others = len(self._lines)

    def add(self, batch: Batch) -> list[Problem]:
        self._near.add(batch.asked)
        self._lines.extend(batch.lines)
        return []

    def finish(self) -> list[Problem]:
        cluster = np.asarray(self._near.clusters(), dtype=np.int64)
        first = np.full(int(cluster.max(initial=-1)) + 1, -1, np.int64)
        # the earliest row of the other file wins
        first[cluster[: self._others][::-1]] = np.arange(self._others)[::-1]
        found = []
        for place in range(self._others, len(cluster)):
            other = int(first[cluster[place]])
            if other >= 0:
                message = f"the input occurs, or nearly, in line {self._lines[other]} of {self._name}"
                fix = "Remove it from one of the two files, or the test measures memory."
                found.append(warning("overlap", message, fix, self._lines[place], "user"))
        return found
