"""What a training makes better: the probability of the replies (sft), or of the chosen over the rejected one (dpo)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import logsigmoid

from executor.data.rows import rejected_row
from executor.encode import Example, encode_all
from executor.errors import UserError
from executor.files import replacing
from executor.spec import TrainSpec
from executor.template import ChatTemplate
from executor.train.compiled import plainly
from executor.train.loss import batch_loss, batch_of, in_parts, log_probabilities
from executor.train.world import ALONE, World

REWARDS = ("reward_accuracy", "reward_chosen", "reward_rejected", "reward_margin")
"""share of pairs whose chosen reply has the higher reward; mean reward of each side; mean difference of the two"""


Guard = Callable[[int, int, str], None]
"""(done, total, unit)"""


Needed = Callable[[], Collection[int]]
"""numbers of the items that a training uses; asked only where that matters"""


def unguarded(done: int, total: int, unit: str) -> None:
    """Nobody looks on."""


class Pair(NamedTuple):
    """Two replies to one prompt."""

    chosen: Example
    rejected: Example
    reference: tuple[float, float] = (0.0, 0.0)
    """log-probability of each under the model that the training started from"""


class Found(NamedTuple):
    loss: torch.Tensor
    """sum over the items, times the scale that was asked for"""
    told: dict[str, float]
    """sums over the items of what else is measured"""


class Objective(Protocol):
    @property
    def told(self) -> tuple[str, ...]:
        """What is measured beside the loss."""

    def encoded(
        self, rows: Sequence[dict[str, Any]], template: ChatTemplate, settings: TrainSpec, split: str
    ) -> list[Any]:
        """The rows as this objective's items. Raises UserError where they cannot be trained."""

    def referred(
        self, model: Any, items: Sequence[Any], needed: Needed, settings: TrainSpec, file: Path,
        guard: Guard = unguarded, world: World = ALONE,
    ) -> list[Any]:  # fmt: skip
        """The items, the `needed` ones with what the model at its start makes of them; that is kept in `file`.

        `guard` is called as the work goes on, and may raise.
        """

    def examples(self, items: Sequence[Any]) -> list[Example]:
        """Every sequence that the model computes for these items."""

    def count(self, items: Sequence[Any]) -> int:
        """What the sum of the items' losses is divided by."""

    def loss(self, model: Any, items: Sequence[Any], settings: TrainSpec, scale: float = 1.0) -> Found:
        """The loss of these items."""


@dataclass(frozen=True)
class Sft:
    """Cross entropy of the reply's tokens; items are examples."""

    told: tuple[str, ...] = ()

    def encoded(
        self, rows: Sequence[dict[str, Any]], template: ChatTemplate, settings: TrainSpec, split: str
    ) -> list[Any]:
        return encode_all(rows, template, settings.max_length, split, settings.allow)

    def referred(
        self, model: Any, items: Sequence[Any], needed: Needed, settings: TrainSpec, file: Path,
        guard: Guard = unguarded, world: World = ALONE,
    ) -> list[Any]:  # fmt: skip
        return list(items)

    def examples(self, items: Sequence[Any]) -> list[Example]:
        return list(items)

    def count(self, items: Sequence[Any]) -> int:
        return sum(sum(example.trained[1:]) for example in items)

    def loss(self, model: Any, items: Sequence[Any], settings: TrainSpec, scale: float = 1.0) -> Found:
        return Found(batch_loss(model, batch_of(model, items, settings), settings, scale), {})


@dataclass(frozen=True)
class Dpo:
    """-ln sigmoid of the difference of the replies' rewards (Rafailov et al. 2023, equation 7); items are pairs.

    A reply's reward is beta times how much its log-probability rose since the training's start (equation 5).
    """

    told: tuple[str, ...] = REWARDS

    def encoded(
        self, rows: Sequence[dict[str, Any]], template: ChatTemplate, settings: TrainSpec, split: str
    ) -> list[Any]:
        missing = [number for number, row in enumerate(rows, start=1) if "rejected" not in row]
        if missing:
            what = f"{len(missing)} {split} rows have no rejected reply, the first is row {missing[0]}"
            raise UserError(what, "train.objective", "dpo needs preference rows; train others with objective: sft.")
        sides = (
            encode_all(side, template, settings.max_length, f"{split} ({name})", settings.allow)
            for name, side in (("chosen", rows), ("rejected", [rejected_row(row) for row in rows]))
        )
        return [Pair(chosen, rejected) for chosen, rejected in zip(*sides, strict=True)]

    def referred(
        self, model: Any, items: Sequence[Any], needed: Needed, settings: TrainSpec, file: Path,
        guard: Guard = unguarded, world: World = ALONE,
    ) -> list[Any]:  # fmt: skip
        known = world.from_first(load_file(file)["reference"] if world.leads and file.exists() else None)
        known = torch.full((len(items), 2), torch.nan, dtype=torch.float64) if known is None else known
        missing = [number for number in sorted(needed()) if known[number].isnan().any()]
        if missing:
            pairs = [items[number] for number in missing]
            known[missing] = world.add_up(reference(model, pairs, settings, guard, world))
            if world.leads:
                with replacing(file) as temporary:
                    save_file({"reference": known}, temporary)
        return [item._replace(reference=tuple(pair)) for item, pair in zip(items, known.tolist(), strict=True)]

    def examples(self, items: Sequence[Any]) -> list[Example]:
        return [example for pair in items for example in (pair.chosen, pair.rejected)]

    def count(self, items: Sequence[Any]) -> int:
        return len(items)

    def loss(self, model: Any, items: Sequence[Any], settings: TrainSpec, scale: float = 1.0) -> Found:
        now = log_probabilities(model, self.examples(items), settings).view(-1, 2)
        before = torch.tensor([pair.reference for pair in items], dtype=now.dtype, device=now.device)
        rewards = settings.beta * (now - before)
        margin = rewards[:, 0] - rewards[:, 1]
        measured = torch.stack([(margin > 0).to(margin.dtype), *rewards.unbind(1), margin]).detach().sum(1)
        return Found(-logsigmoid(margin).sum() * scale, dict(zip(REWARDS, measured.tolist(), strict=True)))


OBJECTIVES: dict[str, Objective] = {"sft": Sft(), "dpo": Dpo()}


@torch.no_grad()
def reference(
    model: Any, pairs: Sequence[Pair], settings: TrainSpec, guard: Guard = unguarded, world: World = ALONE
) -> torch.Tensor:
    """(N, 2) log-probabilities of chosen and rejected replies; a process leaves 0 where the pair is another's."""
    found = torch.zeros(len(pairs), 2, dtype=torch.float64)
    mine = world.share(range(len(pairs)))

    def compute(numbers: Sequence[int]) -> None:
        examples = [example for number in numbers for example in pairs[number][:2]]
        found[list(numbers)] = log_probabilities(model, examples, settings).view(-1, 2).double().cpu()
        guard(numbers[-1] + 1, len(pairs), "pairs, before the first step")

    model.eval()
    with plainly():
        in_parts(mine, settings.micro_batch or settings.batch_size, lambda: None, compute)
    return found
