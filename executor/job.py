"""One run in its process: its folder, its spec, and how to report and to be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from executor.data.rows import answer
from executor.errors import Interrupted
from executor.evaluate.score import Scorer, make_scorer
from executor.evaluate.shots import choose
from executor.run_folder import RunFolder
from executor.spec import RunSpec
from executor.template import ChatTemplate
from executor.train.model import load_base

SHOT_TOKENS = 3072
"""tokens of few-shot examples at most"""


@dataclass
class Job:
    """What every stage is given."""

    run: RunFolder
    spec: RunSpec
    report: Callable[[int, int, str], None]
    say: Callable[[str], None]
    stop: Callable[[], bool]
    base_folder: Path = field(default_factory=Path)

    @cached_property
    def template(self) -> ChatTemplate:
        return ChatTemplate(self.base_folder)

    @cached_property
    def scorer(self) -> Scorer:
        train = self.run.rows("train")
        answers = [answer(row) for row in train or self.run.rows("test")]
        return make_scorer(self.spec.data, answers, self.spec.evaluate, "training" if train else "test")

    @cached_property
    def shots(self) -> int:
        """Few-shot examples that fit: as many as asked for, fewer where the rows are long."""
        train, seed = self.run.rows("train"), self.spec.data.seed
        for shots in range(self.spec.evaluate.shots, 1, -1):
            turns = [[m for m in row["messages"] if m["role"] != "system"] for row in choose(train, shots, seed)]
            if sum(self.template.count(messages) for messages in turns) <= SHOT_TOKENS:
                return shots
        return 1

    @cached_property
    def answer_limit(self) -> int:
        """New tokens allowed: half as many again as the longest training answer, at least 32."""
        rows = self.run.rows("train") or self.run.rows("test")
        longest = max(len(self.template.encode(answer(row))) for row in rows)
        return max(32, int(1.5 * longest) + 8)

    def load_base(self) -> Any:
        return load_base(self.base_folder, self.spec.train.dtype)

    def guard(self, done: int, total: int, unit: str) -> None:
        """Report progress; leave where the user asked to stop."""
        self.report(done, total, unit)
        if self.stop():
            fix = f"Resume with `finetune train --resume {self.run.name}`."
            raise Interrupted("Stopped as asked; finished stages are kept", self.run.name, fix)
