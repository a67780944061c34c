"""Rows that occur again: word for word, nearly, or with another answer. A few bytes a row, whatever the file's size."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from executor.data import labels
from executor.data.batch import Batch
from executor.data.near import NearDuplicates
from executor.data.problem import Findings, Problem, warning

_MOST_ANSWERS = 20_000
"""different answers whose words are kept for messages"""
_SNIPPET = 60
Ints = NDArray[np.int64]


class Repeats:
    """Exact duplicates, near-duplicate inputs, and equal inputs with different answers."""

    def __init__(self) -> None:
        self._lines = array("q")
        self._wholes = array("q")
        self._questions = array("q")
        self._answers = array("q")
        self._words: dict[int, str] = {}
        self._keys: dict[str, int] = {}
        self._near = NearDuplicates()

    def add(self, batch: Batch) -> list[Problem]:
        self._lines.extend(batch.lines)
        self._wholes.extend(batch.wholes)
        self._questions.extend(batch.questions)
        self._answers.extend([self._answer_key(answer) for answer in batch.answers])
        self._near.add(batch.asked)
        return []

    def _answer_key(self, answer: str) -> int:
        """Equal for spellings of one label."""
        found = self._keys.get(answer)
        if found is None:
            found = hash(labels.key(answer))
            if len(self._keys) < _MOST_ANSWERS:
                self._keys[answer] = found
                self._words.setdefault(found, answer)
        return found

    def finish(self) -> list[Problem]:
        findings = Findings()
        lines, wholes, questions, answers = (
            np.frombuffer(column, dtype=np.int64) if column else np.zeros(0, np.int64)
            for column in (self._lines, self._wholes, self._questions, self._answers)
        )
        earlier = first_of_each(wholes)
        findings.add(_exact(lines, earlier))
        findings.add(self._nearly(lines, earlier, questions, answers))
        findings.add(self._conflicts(lines, questions, answers))
        return [problem for problem in findings.problems() if problem.line is not None]

    def _nearly(self, lines: Ints, earlier: Ints, questions: Ints, answers: Ints) -> Iterator[Problem]:
        clusters = np.asarray(self._near.clusters(), dtype=np.int64)
        alone = np.flatnonzero(earlier == np.arange(len(lines)))
        first = alone[first_of_each(clusters[alone])]
        for place, leader in zip(alone.tolist(), first.tolist(), strict=True):
            if place == leader:
                continue
            if questions[place] == questions[leader] and answers[place] != answers[leader]:
                continue
            message = f"nearly the same input as line {lines[leader]}"
            fix = "Keep one of them, or keep both on the same side of the split."
            yield warning("near_duplicate", message, fix, int(lines[place]), "user")

    def _conflicts(self, lines: Ints, questions: Ints, answers: Ints) -> Iterator[Problem]:
        for group in conflicting(questions, answers):
            words = dict.fromkeys(self._words.get(int(answers[place]), "…") for place in group)
            said = " / ".join(_snippet(word) for word in list(words)[:3])
            where = ", ".join(str(lines[place]) for place in group[:5])
            for place in group:
                message = f"the same input has different answers (lines {where}): {said}"
                fix = "Decide which answer is right and remove the others."
                yield warning("conflicting_answers", message, fix, int(lines[place]), "assistant")


def first_of_each(keys: Ints) -> Ints:
    """For each place the first place that holds the same key."""
    if not len(keys):
        return np.zeros(0, np.int64)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse]


def conflicting(questions: Ints, answers: Ints) -> Iterator[list[int]]:
    """Places of rows that ask the same and answer differently, by question, in order of the file."""
    if not len(questions):
        return
    order = np.argsort(questions, kind="stable")
    starts = np.flatnonzero(np.diff(questions[order], prepend=questions[order[0]] - 1))
    groups = [(int(order[a]), a, b) for a, b in zip(starts, [*starts[1:], len(order)], strict=True) if b - a > 1]
    for _, a, b in sorted(groups):
        places = order[a:b]
        if len(np.unique(answers[places])) > 1:
            yield [int(place) for place in places]


def _exact(lines: Ints, earlier: Ints) -> Iterator[Problem]:
    for place in np.flatnonzero(earlier != np.arange(len(lines))).tolist():
        message = f"the same row as line {lines[earlier[place]]}"
        yield warning("exact_duplicate", message, "Keep one of them.", int(lines[place]))


def _snippet(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"
