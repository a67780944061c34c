"""The processes that train together: each computes its share of every batch, and gradients are added up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")
PATIENCE = timedelta(hours=24)
"""for the others: the first one may prepare or answer validation rows for long, and deaths are noticed without it"""


@dataclass(frozen=True)
class World:
    """This process among `size`. With one process nothing is sent."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        return list(items[self.rank :: self.size])

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def total(self, value: float) -> float:
        return float(self.add_up(torch.tensor([value], dtype=torch.float64))) if self.size > 1 else value

    def least(self, value: int) -> int:
        """The smallest of what the processes have."""
        if self.size == 1:
            return value
        found = torch.tensor([value])
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def draw_apart(self, seed: int, step: int) -> None:
        """Random numbers of this process's own for a step, so that two never drop out the same of their rows.

        The first process goes on with its generator, which checkpoints hold; the others' depend on seed, step and rank
        alone, so a resumed training draws the same.
        """
        if self.rank:
            torch.manual_seed(((seed * 1_000_003 + step) * 4093 + self.rank) % 2**63)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: all then do the same."""
        return self.total(float(flag)) > 0

    def from_first(self, value: Any) -> Any:
        """What the first process has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = World()


def join() -> World:
    """The world that the launcher's environment names (`RANK`, `WORLD_SIZE`, as torchrun sets them), or ALONE."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        # numbers that all must agree on are sent between CPUs, gradients between GPUs where there are any
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return World(dist.get_rank(), size)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
