"""One row's scores: is the answer right, is its form right, does it read like the training answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from executor.evaluate.form import Form, form_of
from executor.evaluate.metrics import METRICS, Metric, macro_f1, metric_name
from executor.evaluate.statistics import RESAMPLES, Clusters, interval, numbers, repeated
from executor.evaluate.style import StyleProfile, profile, style_match
from executor.spec import DataSpec, EvaluateSpec


@dataclass(frozen=True)
class Scorer:
    """How rows of one task are scored, learned from the training answers alone."""

    metric: Metric
    form: Form
    style: StyleProfile

    @property
    def binary(self) -> bool:
        """Whether task accuracy is right or wrong, so that Wilson and McNemar apply."""
        return self.metric.binary

    @property
    def beside(self) -> dict[str, Metric]:
        """The measures of a row that are shown with the first."""
        return {name: METRICS[name] for name in self.metric.beside}

    @property
    def by_row(self) -> dict[str, bool]:
        """The scores of each row -> whether they are right or wrong."""
        first = {"task_accuracy": self.binary, "format_compliance": True, "style_match": False}
        return first | {name: metric.binary for name, metric in self.beside.items()}

    def __call__(self, output: str, expected: str) -> dict[str, float]:
        """Each score of a row, in 0..1."""
        output, expected = output.strip(), expected.strip()
        return {
            "task_accuracy": self.metric.score(output, expected),
            "format_compliance": float(self.form.holds(output)),
            "style_match": style_match(output, expected, self.style),
            **{name: each.score(output, expected) for name, each in self.beside.items()},
        }

    def scores(self, lines: Sequence[dict[str, Any]], clusters: Clusters = None) -> dict[str, Any]:
        """The contract's scores of a system from its lines: `value, low, high, n` of each measure."""
        found = {
            name: interval([line["scores"][name] for line in lines], binary, clusters)
            for name, binary in self.by_row.items()
            if all(name in line["scores"] for line in lines)
        }
        if self.metric.labels:
            found["macro_f1"] = macro_f1_interval(
                [line["expected"] for line in lines], [line["output"] for line in lines], clusters
            )
        return found


def make_scorer(
    data: DataSpec, answers: Sequence[str], settings: EvaluateSpec | None = None, whose: str = "training"
) -> Scorer:
    """`answers` are the training answers, at least one; `whose`: the test rows' where there is no training."""
    settings = settings or EvaluateSpec()
    metric = METRICS[metric_name(settings.metric, data)]
    return Scorer(metric, form_of(settings.form, data, answers, whose), profile(list(answers)))


def macro_f1_interval(expected: Sequence[str], outputs: Sequence[str], clusters: Clusters = None) -> dict[str, Any]:
    """Macro-F1 and its percentile bootstrap, by rows or by clusters, fixed seed."""
    n, value = len(expected), macro_f1(expected, outputs)
    labels = {label: place for place, label in enumerate(dict.fromkeys(expected))}
    wanted = np.asarray([labels[each] for each in expected])
    said = np.asarray([labels.get(each, len(labels)) for each in outputs])
    groups = numbers(clusters or ()) if repeated(clusters) else np.arange(n)
    random, values = np.random.default_rng(0), []
    for _ in range(RESAMPLES // 4):
        drawn = np.bincount(random.integers(0, groups.max() + 1, groups.max() + 1), minlength=groups.max() + 1)[groups]
        counts = [np.bincount(which, weights=drawn, minlength=len(labels) + 1)[:-1] for which in (wanted, said)]
        right = np.bincount(wanted, weights=drawn * (wanted == said), minlength=len(labels) + 1)[:-1]
        present = counts[0] > 0
        both = (counts[0] + counts[1])[present]
        values.append(float((2 * right[present] / both).mean()))
    if min(values) == max(values):
        return interval([value] * n, binary=False)
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": n}
