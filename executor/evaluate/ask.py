"""Questions to a model on this machine: messages in, texts out, with what they took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executor.evaluate.generate import generate, settle
from executor.job import Job

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """An answer, and what it took."""

    text: str
    prompt_tokens: int | None
    """None: a server that does not say"""
    output_tokens: int | None
    seconds: float
    """here: the batch's time, divided by its rows"""
    cut: bool = False
    """whether the limit of tokens ended it"""


def ask(
    job: Job,
    model: Any,
    asked: Sequence[Messages],
    unit: str,
    tools: Sequence[list[Any] | None] | None = None,
    as_plain: bool = False,
    limit: int | None = None,
) -> list[Reply]:
    """Greedy answers in the order given. `as_plain`: near ties are decided as plain `generate` decides them."""
    given = tools or [None] * len(asked)
    prompts = [job.template.prompt_ids(messages, each) for messages, each in zip(asked, given, strict=True)]
    ends, size, most = job.template.end_ids, job.spec.evaluate.batch_size, limit or job.answer_limit
    started = time.perf_counter()
    answers = generate(model, prompts, ends, most, size, lambda n: job.guard(n, len(asked), unit))
    if as_plain:
        answers = settle(model, prompts, answers, ends, most, lambda n: job.guard(n, len(asked), "near ties"))
    seconds = (time.perf_counter() - started) / max(1, len(asked))
    decode = job.template.tokenizer.decode
    return [
        Reply(decode(list(found.ids)).strip(), len(prompt), len(found.ids) + 1, seconds, len(found.ids) >= most)
        for found, prompt in zip(answers, prompts, strict=True)
    ]
