"""One row's scores: is the answer right, is its form right, does it read like the training answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from executor.evaluate.style import StyleProfile, profile, style_match
from executor.spec import DataSpec

METRICS = ("task_accuracy", "format_compliance", "style_match")
METHODS = {
    "label": "exact match of the label (the answers are a closed set)",
    "json": "equality of the parsed JSON (every answer is JSON)",
    "text": "chrF, character n-gram F-score from 0 to 1 (the answers are free text)",
}


@dataclass(frozen=True)
class Scorer:
    """How rows of one task are scored, learned from the training answers alone."""

    kind: str
    labels: frozenset[str]
    required: frozenset[str]
    """JSON: keys that every training answer has"""
    allowed: frozenset[str]
    """JSON: keys that any training answer has"""
    longest: int
    style: StyleProfile

    @property
    def binary(self) -> bool:
        """Whether task accuracy is right or wrong, so that Wilson and McNemar apply."""
        return self.kind != "text"

    def __call__(self, output: str, expected: str) -> dict[str, float]:
        """Each metric in 0..1."""
        output, expected = output.strip(), expected.strip()
        return {
            "task_accuracy": ACCURACY[self.kind](output, expected),
            "format_compliance": float(self.well_formed(output)),
            "style_match": style_match(output, expected, self.style),
        }

    def well_formed(self, output: str) -> bool:
        """Label: one of the labels. JSON: an object with their keys. Text: not empty, not runaway."""
        if self.kind == "label":
            return output in self.labels
        if self.kind == "json":
            value = parse_json(output)
            return isinstance(value, dict) and self.required <= value.keys() <= self.allowed
        return 0 < len(output) <= 2 * self.longest


def make_scorer(data: DataSpec, answers: Sequence[str]) -> Scorer:
    """`answers` are the training answers, at least one."""
    parsed = [parse_json(a) for a in answers] if data.kind == "json" else []
    keys = [frozenset(value) for value in parsed if isinstance(value, dict)]
    required, allowed = frozenset.intersection(*keys) if keys else frozenset(), frozenset().union(*keys)
    longest = max(len(a) for a in answers)
    return Scorer(data.kind, frozenset(data.labels), required, allowed, longest, profile(list(answers)))


def exact(output: str, expected: str) -> float:
    return float(output == expected)


def same_json(output: str, expected: str) -> float:
    value = parse_json(output)
    return float(value is not None and canonical(value) == canonical(parse_json(expected)))


def canonical(value: Any) -> str:
    """JSON text with sorted keys: unlike Python, it tells 1 from true."""
    return json.dumps(value, sort_keys=True)


def chrf(output: str, expected: str) -> float:
    """chrF2 (Popović 2015), from sacrebleu: the reference implementation."""
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(output, [expected]).score) / 100


ACCURACY: dict[str, Callable[[str, str], float]] = {"label": exact, "json": same_json, "text": chrf}


def parse_json(text: str) -> Any | None:
    """The JSON value, or None where it is not JSON (or is null)."""
    try:
        return json.loads(text)
    except ValueError:
        return None
