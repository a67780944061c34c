"""What a training will need, before anything is spent: memory and seconds with a range. Light: no torch.

Memory: the process, the weights, 16 bytes for each trained parameter (value, gradient and two AdamW moments in
float32), and activations of 34 bytes a token, hidden unit and layer in 16 bit (Korthikanti 2022), half of it where the
weights are frozen and need no inputs kept. Time: a cost of each step that does not depend on its tokens (weights are
read, operations are started), and 4 floating-point operations for each parameter and computed token (forward, and
backward through activations but not into frozen weights), 6 in full training; a shared prefix is computed once a batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from executor.hardware import Hardware
from executor.spec import LoraSpec, TrainSpec

GIB = 2**30


class Shape(BaseModel):
    """The figures of a transformer that memory depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocabulary: int


class Rates(BaseModel):
    """Constants of a device, from the dated facts: measured, or judged where the fact says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flops_per_core: float
    """achieved floating-point operations a second for each CPU core, or for the whole GPU"""
    layer_seconds: float
    """what a step costs for each layer, whatever its tokens"""
    method: float
    """times as long as LoRA for each step"""
    process_bytes: float
    """resident memory of the run process before a model is loaded"""
    low: float
    """factor from expected to low"""
    high: float
    source: str


def context_of(folder: Path) -> int | None:
    """Tokens that a prepared model reads, from its config.json; None where that does not say."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = config.get("max_position_embeddings") or config.get("n_positions")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) and found > 0 else None


def shape_of(folder: Path) -> Shape | None:
    """Read from a prepared model's config.json; None where it is absent or of another kind."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        hidden, layers, intermediate = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
        heads = config["num_attention_heads"]
        groups = config.get("num_key_value_heads", heads)
        width = config.get("head_dim") or hidden // heads
        embedding = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
        layer = 2 * hidden * heads * width + 2 * hidden * groups * width + 3 * hidden * intermediate
        return Shape(
            parameters=embedding + layers * layer, layers=layers, hidden=hidden, intermediate=intermediate,
            heads=heads, key_value_heads=groups, vocabulary=config["vocab_size"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def adapter_parameters(shape: Shape, lora: LoraSpec) -> int:
    """Sum of r (d_in + d_out) over the adapted linear layers of a Llama-like block."""
    h, i = shape.hidden, shape.intermediate
    kv = h * shape.key_value_heads // shape.heads
    sizes = {
        "q_proj": (h, h), "k_proj": (h, kv), "v_proj": (h, kv), "o_proj": (h, h),
        "gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h),
    }  # fmt: skip
    chosen = sizes if lora.target_modules == "all-linear" else lora.target_modules
    return shape.layers * sum(lora.r * sum(sizes.get(name, (h, h))) for name in chosen)


class Lengths(BaseModel):
    """Tokens of the training rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    """of a whole row; of a preference row with both of its conversations"""
    shared: int = 0
    """of the prefix that all conversations have in common"""
    replies: int = 1
    """conversations of a row: of a preference row two"""

    def computed(self, rows: int, share_prefix: bool) -> float:
        """Tokens that a batch of `rows` computes."""
        shared = self.shared if share_prefix and rows * self.replies > 1 else 0
        return shared + rows * (self.mean - self.replies * shared)


BYTES: dict[str, float] = {"lora": 2, "dora": 2, "qlora": 0.75, "full": 2}
"""of a weight as it is computed with; NF4 with its scales takes 0.52, the embeddings stay in 16 bit"""


def estimate(
    shape: Shape, lora: LoraSpec, train: TrainSpec, lengths: Lengths, rows: int, device: Hardware, rates: Rates
) -> dict[str, Any]:
    """The contract's `estimate`; seconds are those of the training itself."""
    width = 1 if train.dtype == "bfloat16" else 2
    full = train.method == "full"
    trained = shape.parameters if full else adapter_parameters(shape, lora)
    held = train.micro_batch or train.batch_size
    kept = lengths.computed(held, train.share_prefix) * shape.layers * shape.hidden * 34 * width
    memory = rates.process_bytes + BYTES[train.method] * width * shape.parameters + 16 * trained
    memory += kept if full else kept / 2
    steps = min(train.steps, train.epochs * (rows + train.replay) / train.batch_size)
    work = lengths.computed(train.batch_size, train.share_prefix) * (6 if full else 4) * shape.parameters
    cores = device.cores if device.device == "cpu" else 1
    step = rates.layer_seconds * shape.layers + work / (rates.flops_per_core * cores)
    return {
        "memory_bytes": spread(memory, rates, whole=True),
        "seconds": spread(steps * step * rates.method, rates),
        "cost_usd": None,
        "hosting_usd_month": None,
        "fits": memory * 1.2 + GIB <= device.memory,
        "device": device.name,
        "basis": rates.source,
    }


def spread(expected: float, rates: Rates, whole: bool = False) -> dict[str, float]:
    values = {"low": expected * rates.low, "expected": expected, "high": expected * rates.high}
    return {k: int(v) if whole else round(v, 1) for k, v in values.items()}
