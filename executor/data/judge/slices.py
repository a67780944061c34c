"""Parts of a set with few rows or none: those the user marked, and lengths far beyond the usual."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from executor.data.batch import Batch
from executor.data.judge.held import snippet
from executor.data.problem import Problem, warning
from executor.errors import UserError

THIN = 20
"""rows; fewer show neither that a part is learned nor that it is not"""
_LEAST = 200
"""rows from which on the lengths have a tail"""
_BULK = 0.95
_FAR = 4
"""times the length that `_BULK` of the rows keep to"""
_NAMES = 1000
"""different slices that are counted"""


class Slices:
    """Counts of the slices that rows belong to.

    `slices` are names that the set should have rows of. Without marked rows and names it speaks of lengths only. Labels
    with few rows are named by `LabelNames`, languages by `Language`.
    """

    def __init__(self, slices: Sequence[str] = ()) -> None:
        self._counts: Counter[str] = Counter(dict.fromkeys(slices, 0))
        self._marked = bool(self._counts)
        self._asked = array("i")
        self._answers = array("i")

    def add(self, batch: Batch, slices: Sequence[str] | None = None) -> list[Problem]:
        """`slices` has for each row of the batch its slice ("edge_case", "refund"), or "" for none.

        Raises UserError where it has not as many entries as the batch has rows.
        """
        self._asked.extend(map(len, batch.asked))
        self._answers.extend(map(len, batch.answers))
        if slices is None:
            return []
        if len(slices) != len(batch):
            raise UserError(
                f"{len(slices)} slices are given for {len(batch)} rows",
                fix="Give one slice for each row, or an empty text.",
            )
        self._marked = True
        for name, n in Counter(slices).items():
            if name.strip() and (name in self._counts or len(self._counts) < _NAMES):
                self._counts[name] += n
        return []

    def finish(self) -> list[Problem]:
        found = self._thin() if self._marked else []
        for lengths, what, role in ((self._asked, "inputs", "user"), (self._answers, "answers", "assistant")):
            found += _long(np.frombuffer(lengths, np.int32), what, role)
        return found

    def _thin(self) -> list[Problem]:
        fix = f"Add rows of this slice: at least {THIN} to learn from, and others to test on."
        found = []
        for name, n in sorted(self._counts.items(), key=lambda item: (item[1], item[0])):
            if n < THIN:
                rows = "no row" if n == 0 else f"only {n} of {len(self._asked)} rows"
                found.append(warning("thin_slice", f'{rows} of the slice "{snippet(name)}"', fix))
        return found


def _long(lengths: np.ndarray[tuple[int], np.dtype[np.int32]], what: str, role: str) -> list[Problem]:
    """Lengths far beyond the bulk that only some rows have."""
    if len(lengths) < _LEAST:
        return []
    bulk = float(np.quantile(lengths, _BULK))
    limit = int(_FAR * max(bulk, 1))
    n = int((lengths > limit).sum())
    if not 0 < n < THIN:
        return []
    usual = f"{_BULK:.0%} have at most {bulk:.0f}"
    message = f"only {n} of {len(lengths)} {what} are longer than {limit} characters ({usual})"
    fix = "Add such rows if they come in use; else remove them."
    return [warning("thin_slice", message, fix, field=role)]
