"""Which of two replies a model holds to be the likelier one: what preference training is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from executor.data.rows import both_replies
from executor.encode import Example, cut, encode
from executor.spec import TrainSpec
from executor.template import ChatTemplate
from executor.train.loss import in_parts, log_probabilities


@torch.no_grad()
def preferred(
    model: Any,
    rows: Sequence[dict[str, Any]],
    template: ChatTemplate,
    settings: TrainSpec,
    report: Callable[[int], None],
) -> list[float]:
    """1.0 for each preference row whose chosen reply has the higher mean log-probability a token, else 0.0.

    The mean, not the sum: a sum prefers whichever reply is shorter. A row longer than max_length loses its end.
    """
    pairs = [[cut(encode(each, template), settings.max_length) for each in both_replies(row)] for row in rows]
    found: list[float] = []

    def compute(part: Sequence[list[Example]]) -> None:
        examples = [example for pair in part for example in pair]
        tokens = torch.tensor([max(1, sum(example.trained[1:])) for example in examples])
        means = (log_probabilities(model, examples, settings).cpu() / tokens).view(-1, 2)
        found.extend((means[:, 0] > means[:, 1]).double().tolist())
        report(len(found))

    in_parts(pairs, settings.micro_batch or settings.batch_size, found.clear, compute)
    return found
