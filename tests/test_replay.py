"""The replay prompts: distinct from the regression suites, answered by the base model."""

from __future__ import annotations

import difflib
import re

from executor.evaluate import suites
from executor.train.replay import replay_prompts

SAME = 0.65
"""ratio of shared words in order, above which two prompts are the same question in other words"""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def test_no_replay_prompt_resembles_a_suite_item() -> None:
    items = [words(item.prompt) for name in suites.names() for item in suites.load(name).items]
    prompts = replay_prompts()
    assert len(prompts) == len(set(prompts)) >= 40
    assert len(items) >= 150
    for prompt in prompts:
        matcher = difflib.SequenceMatcher(b=words(prompt), autojunk=False)
        for item in items:
            matcher.set_seq1(item)
            assert matcher.ratio() <= SAME, (prompt, " ".join(item))
