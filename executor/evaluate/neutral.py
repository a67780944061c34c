"""Loss on neutral text: how much worse a model has become at predicting ordinary prose, whatever it was tuned for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from executor.encode import Example
from executor.evaluate.statistics import bootstrap_mean
from executor.spec import TrainSpec
from executor.template import ChatTemplate
from executor.train.loss import in_parts, log_probabilities


@cache
def texts() -> tuple[str, ...]:
    """The bundled paragraphs."""
    file = Path(__file__).with_name("neutral.yaml")
    return tuple(yaml.safe_load(file.read_text(encoding="utf-8"))["texts"])


@torch.no_grad()
def losses(
    model: Any, template: ChatTemplate, settings: TrainSpec, report: Callable[[int], None] = lambda done: None
) -> list[float]:
    """The mean loss a token (nats) of each paragraph, its first token aside."""
    found: list[float] = []
    examples = [Example(ids, (False, *[True] * (len(ids) - 1))) for ids in map(tuple, map(template.encode, texts()))]

    def compute(part: Any) -> None:
        counts = torch.tensor([len(example.ids) - 1 for example in part])
        found.extend((-log_probabilities(model, part, settings).cpu() / counts).tolist())
        report(len(found))

    in_parts(examples, settings.micro_batch or settings.batch_size, found.clear, compute)
    return found


def change(before: list[float], after: list[float]) -> dict[str, Any]:
    """Both means and the paired difference with its 95 % interval; above zero is worse."""
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    low, high = bootstrap_mean(gaps)
    n = len(gaps)
    means = {"before": sum(before) / n, "after": sum(after) / n, "difference": sum(gaps) / n}
    return means | {"low": low, "high": high, "n": n}
