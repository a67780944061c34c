"""Checkpoints: everything a run needs to go on bit for bit, written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from executor.errors import UserError
from executor.files import cannot_write, read_json, write_json

NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Progress:
    """Where a training stands after `step` optimiser steps."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    train_loss: float | None = None
    eval_loss: float | None = None
    task_metric: float | None = None
    best_step: int | None = None
    """the step whose state was best on the validation rows, by `select`"""
    best_value: float | None = None
    """what it was chosen by, higher is better"""
    best_loss: float | None = None
    best_metric: float | None = None
    worse: int = 0
    """validations since then"""
    ended: bool = False
    """whether it ended early"""
    told: dict[str, float] = field(default_factory=dict)
    """what the objective measured beside the loss, at the last step or validation"""
    micro_batch: int = 0
    """rows computed at once: sums depend on it in the last bit, so a resumed run keeps it"""


def save_checkpoint(
    folder: Path, names: Sequence[str], optimizer: torch.optim.Optimizer, progress: Progress, keep: int
) -> None:
    """Adapter weights, optimiser moments and random state under `folder/step-N`; then drop all but the last `keep`.

    Everything is written and fsynced under a hidden name first: a folder called step-N is complete.
    """
    hidden = folder / f".step-{progress.step}"
    final = folder / f"step-{progress.step}"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        save_file(state_tensors(names, optimizer), hidden / "state.safetensors")
        write_json(hidden / "progress.json", progress.__dict__)
        with open(hidden / "state.safetensors", "rb") as written:
            os.fsync(written.fileno())
        shutil.rmtree(final, ignore_errors=True)
        hidden.rename(final)
    except OSError as error:
        raise cannot_write(final, error) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    for _, old in sorted(checkpoints(folder))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, names: Sequence[str], optimizer: torch.optim.Optimizer) -> Progress:
    """Restore the newest checkpoint into the optimiser's parameters; without one, a fresh Progress."""
    found = sorted(checkpoints(folder))
    if not found:
        return Progress()
    newest = found[-1][1]
    state = load_file(newest / "state.safetensors")
    if any(f"parameter/{name}" not in state for name in names):
        fix = "Start the training anew from the run's spec.yaml."
        raise UserError("The checkpoint was written by another version", str(newest), fix)
    for name, parameter in zip(names, parameters(optimizer), strict=True):
        with torch.no_grad():
            parameter.copy_(state[f"parameter/{name}"])
        optimizer.state[parameter] = {
            key: state[f"{key}/{name}"].to("cpu" if key == "step" and not fused_on_gpu(parameter) else parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
    torch.set_rng_state(state["random/cpu"])
    if torch.cuda.is_available() and "random/cuda" in state:
        torch.cuda.set_rng_state(state["random/cuda"])
    return Progress(**read_json(newest / "progress.json"))


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every complete checkpoint."""
    if not folder.is_dir():
        return []
    return [(int(m[1]), path) for path in folder.iterdir() if (m := NAME.fullmatch(path.name))]


def state_tensors(names: Sequence[str], optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    for name, parameter in zip(names, parameters(optimizer), strict=True):
        tensors[f"parameter/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.contiguous()
    return tensors


def parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def fused_on_gpu(parameter: torch.Tensor) -> bool:
    """The fused optimiser keeps its step counter where the parameter is."""
    return bool(parameter.is_cuda)
