"""Whether merged weights are base plus adapter, rounded to 16 bits and no further."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from executor.files import read_json

MOST = 24
"""modules that are compared, spread over the layers"""
ROUNDED = 0.01
"""relative error (Frobenius) from which on weights were rounded further: bfloat16 gives about 0.002, NF4 about 0.1"""


def merge_fault(base: Path, tuned: Path, merged: Path) -> str:
    """What is wrong with the merged weights in one line; empty where they are base plus adapter, or cannot be compared.

    The change of a module is `scale * B @ A` (Hu et al. 2021), scale alpha/r or alpha/sqrt(r). DoRA's is not linear,
    and modules whose rank or alpha was set one by one are left out.
    """
    config = read_json(tuned / "adapter_config.json") if (tuned / "adapter_config.json").exists() else {}
    if not config or config.get("use_dora") or config.get("rank_pattern") or config.get("alpha_pattern"):
        return ""
    if quantised(merged):
        return "Merged into 4 bits: the merged model is stored quantised, so the adapter was rounded away with it."
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    wrong, worst, seen = 0, 0.0, 0
    with Tensors(base) as before, Tensors(merged) as after, safe_open(tuned / FILE, "pt") as adapter:
        for name, a, b in pairs(adapter):
            if name not in before or name not in after:
                continue
            expected = before[name] + scale * (b @ a)
            error = float((after[name] - expected).norm() / expected.norm().clamp_min(1e-12))
            wrong, worst, seen = wrong + (error > ROUNDED), max(worst, error), seen + 1
    if not wrong:
        return ""
    cause = "as a base in 4 bits gives" if worst < 1 else "they are other weights"
    return f"Merged into 4 bits: {wrong} of {seen} merged modules are off by up to {worst:.1%}; {cause}."


FILE = "adapter_model.safetensors"


def quantised(folder: Path) -> bool:
    return bool(read_json(folder / "config.json").get("quantization_config"))


def pairs(adapter: Any) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """(name of the weight in the base, A of shape (r, in), B of shape (out, r)), in float32."""
    names = sorted(fnmatch.filter(adapter.keys(), "*.lora_A.weight"))
    for name in names[:: max(1, math.ceil(len(names) / MOST))]:
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        other = name.replace(".lora_A.", ".lora_B.")
        yield f"{module}.weight", adapter.get_tensor(name).float(), adapter.get_tensor(other).float()


class Tensors:
    """The tensors of a model folder by name, read one at a time, in float32."""

    def __init__(self, folder: Path) -> None:
        self.open: list[Any] = [safe_open(file, "pt") for file in sorted(folder.glob("*.safetensors"))]
        self.home = {name: place for place, file in enumerate(self.open) for name in file.keys()}  # noqa: SIM118

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.clear()

    def __contains__(self, name: str) -> bool:
        return name in self.home

    def __getitem__(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self.open[self.home[name]].get_tensor(name).float()
        return found
