"""Measures of a right answer, from strict to lenient: each takes an output and the expected answer and gives 0..1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from executor.evaluate.reading import calls_in, canonical, is_identifier, is_number, normal, number_in, parse_json
from executor.spec import DataSpec, MetricName

SHORT_WORDS = 6
"""an answer of so few words is right or wrong; a longer one can be partly right"""
NEARLY_ALL = 0.95
RELATIVE, ABSOLUTE = Decimal("1e-6"), Decimal("1e-12")


@dataclass(frozen=True)
class Metric:
    """One measure."""

    says: str
    """what it counts as right"""
    score: Callable[[str, str], float]
    binary: bool = True
    """whether a row is right or wrong, so that Wilson and McNemar apply"""
    beside: tuple[MetricName, ...] = ()
    """measures that are shown with it"""
    labels: bool = False
    """whether macro-F1, a measure of all rows together, is shown too"""


def exact(output: str, expected: str) -> float:
    return float(output.strip() == expected.strip())


def normalised(output: str, expected: str) -> float:
    """Equal but for case, punctuation and articles; texts of punctuation alone must be equal as they are."""
    left, right = normal(output), normal(expected)
    return float(left == right) if right else exact(output, expected)


def contains(output: str, expected: str) -> float:
    """The expected answer stands in the output as whole words, but for case, punctuation and articles."""
    wanted = normal(expected)
    return float(f" {wanted} " in f" {normal(output)} ") if wanted else exact(output, expected)


def numeric(output: str, expected: str) -> float:
    """The last numbers are equal: whole ones exactly, others within a relative 1e-6."""
    value, wanted = number_in(output), number_in(expected)
    if value is None or wanted is None:
        return 0.0
    if value == value.to_integral_value() and wanted == wanted.to_integral_value():
        return float(value == wanted)
    return float(abs(value - wanted) <= max(ABSOLUTE, RELATIVE * max(abs(value), abs(wanted))))


def same_calls(output: str, expected: str) -> float:
    """The same functions with the same arguments, in any order; an expected answer in words is to be said in words."""
    said, wanted = calls_in(output), calls_in(expected)
    if wanted is None:
        return normalised(output, expected) if said is None else 0.0
    return float(said is not None and Counter(said) == Counter(wanted))


def same_json(output: str, expected: str) -> float:
    value = parse_json(output)
    return float(value is not None and canonical(value) == canonical(parse_json(expected)))


def fields(value: Any, path: str = "") -> Counter[tuple[str, str]]:
    """Every leaf as (path, JSON text); the places of a list count as one, so that a shifted list loses one entry."""
    found: Counter[tuple[str, str]] = Counter()
    if isinstance(value, dict) and value:
        for key, item in value.items():
            found += fields(item, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for item in value:
            found += fields(item, f"{path}[]")
    else:
        found[path, canonical(value)] += 1
    return found


def field_f1(output: str, expected: str) -> float:
    """F1 over the fields of two JSON values; 0 where the output is not JSON."""
    value = parse_json(output)
    if value is None:
        return 0.0
    left, right = fields(value), fields(parse_json(expected))
    return 2 * (left & right).total() / (left.total() + right.total())


def chrf(output: str, expected: str) -> float:
    """chrF2 (Popović 2015), from sacrebleu: the reference implementation."""
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(output, [expected]).score) / 100


def rouge_l(output: str, expected: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of lower-case words."""
    left, right = (re.findall(r"\w+", text.casefold()) for text in (output, expected))
    if not left or not right:
        return float(left == right)
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for place, other in enumerate(right, 1):
            row[place], before = (before + 1 if word == other else max(row[place], row[place - 1])), row[place]
    return 2 * row[-1] / (len(left) + len(right))


METRICS: dict[MetricName, Metric] = {
    "label": Metric("exact match of the label", exact, labels=True),
    "exact": Metric("exact match", exact, beside=("normalised",)),
    "normalised": Metric("match but for case, punctuation and articles", normalised, beside=("contains",)),
    "contains": Metric("the expected answer stands in the output as whole words", contains, beside=("normalised",)),
    "numeric": Metric("equality of the last number", numeric, beside=("exact",)),
    "tool_calls": Metric("the same tool calls with the same arguments", same_calls),
    "json": Metric("equality of the parsed JSON", same_json, beside=("field_f1",)),
    "field_f1": Metric("F1 over the fields of the JSON", field_f1, binary=False, beside=("json",)),
    "chrf": Metric("chrF, character n-gram F-score from 0 to 1", chrf, binary=False, beside=("rouge_l",)),
    "rouge_l": Metric("ROUGE-L, F1 of the longest common word sequence", rouge_l, binary=False, beside=("chrf",)),
}
BY_KIND: dict[str, MetricName] = {"label": "label", "json": "json", "text": "chrf"}


def choose(kind: str, answers: Sequence[str]) -> tuple[MetricName, str]:
    """(metric, reason) for a task of this kind, by its training answers, at least one."""
    if share(answers, lambda text: calls_in(text) is not None) >= NEARLY_ALL:
        return "tool_calls", "the answers are tool calls"
    if kind == "label":
        return "label", f"the answers are a closed set of {len(set(answers))} labels"
    if kind == "json":
        return "json", "the answers are JSON objects"
    if any(map(is_identifier, answers)) and share(answers, lambda text: text.strip().isdigit()) >= NEARLY_ALL:
        return "exact", "the answers are digits whose leading zeros count: identifiers, not numbers"
    if share(answers, is_number) >= NEARLY_ALL:
        return "numeric", "the answers are numbers"
    if share(answers, lambda text: "\n" not in text.strip() and len(text.split()) <= SHORT_WORDS) >= NEARLY_ALL:
        return "normalised", f"the answers have at most {SHORT_WORDS} words: each is right or wrong"
    return "chrf", "the answers are free text, which can be partly right"


def share(texts: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, texts)) / len(texts)


def metric_name(named: MetricName | None, data: DataSpec) -> MetricName:
    """The metric of a run; specs of before it was recorded mean that of their kind of task."""
    return named or BY_KIND[data.kind]


def macro_f1(expected: Sequence[str], outputs: Sequence[str]) -> float:
    """The mean over the expected labels of each label's F1; an output that is no label is nobody's."""
    right, wanted, said = Counter[str](), Counter(expected), Counter(outputs)
    right.update(label for label, output in zip(expected, outputs, strict=True) if label == output)
    return sum(2 * right[label] / (wanted[label] + said[label]) for label in wanted) / len(wanted)
