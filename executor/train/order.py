"""Which rows an optimiser step trains: shuffled passes, or easy rows first (curriculum learning).

Everything depends on the spec and the number of the step alone, so a resumed run needs no sampler state.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from executor.data.batch import Batch as Columns
from executor.data.difficulty import difficulty
from executor.spec import TrainSpec, steps_per_epoch

STAGES = 3
"""of the staged curriculum: the easiest third, two thirds, all"""
START = 0.1
"""share of the rows that continuous pacing begins with"""
FULL = 2 / 3
"""share of the steps after which continuous pacing has all rows in reach"""


@dataclass(frozen=True)
class Order:
    """The rows of every step. The task's rows are numbered from 0, replayed rows behind them.

    Task and replay never share a batch, so a task batch keeps the prompt prefix it shares.
    """

    rows: int
    replay: int
    settings: TrainSpec
    easiest_first: Sequence[int] = ()
    """a permutation of the rows, for a curriculum"""

    def batch(self, step: int) -> list[int]:
        """The rows of step `step` (0-based)."""
        if self.settings.curriculum == "staged":
            return self._staged(step)
        if self.settings.curriculum == "continuous":
            return self._paced(step)
        return self._in_passes(list(range(self.rows)), step, self.settings.seed)

    def _staged(self, step: int) -> list[int]:
        """A third of the steps on the easiest third of the rows, a third on two thirds, a third on all."""
        total = self.settings.steps
        stage = min(STAGES - 1, STAGES * step // total)
        first = -(-total * stage // STAGES)
        reach = -(-self.rows * (stage + 1) // STAGES)
        return self._in_passes(list(self.easiest_first[:reach]), step - first, self.settings.seed + 3 * stage)

    def _paced(self, step: int) -> list[int]:
        """Drawn from the easiest share c(t) of the rows, c(t) = min(1, sqrt(t (1 - c0^2) / T + c0^2)).

        Platanios et al. 2019, "Competence-based curriculum learning for neural machine translation", equation 7.
        """
        chance = random.Random(f"{self.settings.seed}/{step}")  # noqa: S311 (an order, not a secret)
        size = self.settings.batch_size
        per_pass = steps_per_epoch(self.rows, self.replay, size)
        if chance.random() < -(-self.replay // size) / per_pass:
            return [self.rows + i for i in chance.sample(range(self.replay), min(size, self.replay))]
        share = math.sqrt(step * (1 - START**2) / (FULL * self.settings.steps) + START**2)
        reach = min(self.rows, max(size, math.ceil(share * self.rows)))
        return chance.sample(list(self.easiest_first[:reach]), min(size, reach))

    def _in_passes(self, rows: Sequence[int], step: int, seed: int) -> list[int]:
        """Shuffled passes over `rows` and the replay; the last batch of each kind in a pass may be smaller."""
        size = self.settings.batch_size
        epoch, place = divmod(step, steps_per_epoch(len(rows), self.replay, size))
        task = [rows[i] for i in shuffled(len(rows), epoch, seed)]
        own = [self.rows + i for i in shuffled(self.replay, epoch, seed + 1)]
        batches = [o[i : i + size] for o in (task, own) for i in range(0, len(o), size)]
        return batches[shuffled(len(batches), epoch, seed + 2)[place]]


def make_order(rows: Sequence[dict[str, Any]], replay: int, settings: TrainSpec) -> Order:
    """The order of a training on these rows (messages); a curriculum ranks them by `executor.data.difficulty`."""
    if settings.curriculum == "none":
        return Order(len(rows), replay, settings)
    columns = Columns()
    for number, row in enumerate(rows, start=1):
        columns.add(row, number)
    return Order(len(rows), replay, settings, difficulty(lambda: [columns]).order().tolist())


@lru_cache(maxsize=8)
def shuffled(rows: int, epoch: int, seed: int) -> Sequence[int]:
    """A permutation that depends on seed and epoch alone."""
    order = list(range(rows))
    random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 (an order, not a secret)
    return order
