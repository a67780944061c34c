"""Replay against forgetting: the base model's own answers to everyday prompts, trained beside the task's rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import yaml

from executor.evaluate.generate import generate
from executor.template import ChatTemplate

LONGEST = 64
"""new tokens; an answer that has not ended by then is left out"""


def replay_prompts() -> list[str]:
    prompts: list[str] = yaml.safe_load((Path(__file__).parent / "replay.yaml").read_text(encoding="utf-8"))
    return prompts


def replay_rows(
    base: Any, template: ChatTemplate, count: int, batch_size: int, report: Callable[[int, int, str], None]
) -> list[dict[str, Any]]:
    """`count` rows of messages: bundled prompts in turn, answered greedily by `base` before it is trained.

    Training on a model's own answers keeps it where it is on such prompts. Where fewer answers than `count` ended by
    themselves, they are repeated; where none did, there is no replay.
    """
    asked = [[{"role": "user", "content": prompt}] for prompt in replay_prompts()]
    ids = [template.prompt_ids(messages) for messages in asked]
    answers = generate(
        base, ids, template.end_ids, LONGEST, batch_size, lambda done: report(done, len(ids), "replay answers")
    )
    rows = [
        {"messages": [*messages, {"role": "assistant", "content": text}]}
        for messages, answer in zip(asked, answers, strict=True)
        if len(answer.ids) < LONGEST and (text := template.tokenizer.decode(list(answer.ids)).strip())
    ]
    return list(islice(cycle(rows), count)) if rows else []
