"""Memory and time of a training in advance: from the shape of the model, or from what this machine measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data.prepare import Prepared
from executor.data.rows import both_replies
from executor.errors import UserError
from executor.estimate import GIB, Lengths, Rates, Shape, estimate, shape_of
from executor.files import read_json
from executor.hardware import hardware
from executor.model_cache import prepared_folder
from executor.place import load_place
from executor.run_folder import RunFolder, all_runs
from executor.spec import LoraSpec, ModelSpec, Reason, TrainSpec
from executor.template import ChatTemplate
from knowledge.load import fact, models, number

CHARACTERS_PER_TOKEN = 3.6
"""assumed where the model's tokenizer is not on this disk yet"""
SAMPLE = 200
ALIKE = 0.2
"""relative difference in length up to which rows count as alike; and the range of a prediction from a measured run"""


def predict(model: ModelSpec, data: Prepared, lora: LoraSpec, train: TrainSpec) -> dict[str, Any] | None:
    """The contract's `estimate`, or None where the model's shape is not known before it is fetched."""
    folder = prepared_folder(model)
    shape = shape_of(folder) or catalogue_shape(model)
    if shape is None:
        return None
    device = hardware()
    row = "cpu_bf16" if device.device == "cpu" and device.bfloat16 else device.device
    rates = Rates(
        flops_per_core=number("defaults", f"rate.{row}"),
        layer_seconds=number("defaults", f"rate.layer.{device.device}"),
        method=number("defaults", f"rate.method.{train.method}"),
        process_bytes=number("defaults", "rate.process_bytes"),
        low=number("defaults", "rate.low"),
        high=number("defaults", "rate.high"),
        source=fact("defaults", f"rate.{row}").source[0],
    )
    lengths = token_lengths(folder, data)
    predicted = estimate(shape, lora, train, lengths, len(data.train), device, rates)
    return calibrated(predicted, model, lora, train, lengths.mean)


def calibrated(
    predicted: dict[str, Any], model: ModelSpec, lora: LoraSpec, train: TrainSpec, tokens: float
) -> dict[str, Any]:
    """The prediction by what the newest run like it, or a probe of it, measured on this machine, if there is one.

    Alike: the same model, adapter, method, number format, batch and threads, rows of about the same length.
    """
    for run in all_runs():
        found = like(run, model, lora, train, tokens)
        if found is None:
            continue
        spread = {"low": 1 - ALIKE, "expected": 1.0, "high": 1 + ALIKE}
        seconds = found.first_seconds + found.step_seconds * train.steps
        return predicted | {
            "memory_bytes": {k: int(found.memory_bytes * f) for k, f in spread.items()},
            "seconds": {k: round(seconds * f, 3) for k, f in spread.items()},
            "fits": found.memory_bytes + GIB <= hardware().memory,
            "basis": run.name,
        }
    return predicted


@dataclass(frozen=True)
class Measured:
    """What a finished training, or a probe of its first steps, took on this machine."""

    steps: int
    tokens: int
    first_seconds: float
    """of the first step, beyond the others"""
    step_seconds: float
    memory_bytes: int


def measured(run: RunFolder) -> Measured | None:
    """Of a run that trained or probed; None where it did neither, or took part of another run's work."""
    trained = (run.summary("train") or {}).get("metrics") or {}
    if trained.get("seconds"):
        each = trained["seconds"] / trained["steps"]
        return Measured(trained["steps"], trained["tokens"], 0.0, each, trained["peak_memory_bytes"])
    probed = run.summary("probe")
    return Measured(**probed) if probed else None


def like(run: RunFolder, model: ModelSpec, lora: LoraSpec, train: TrainSpec, tokens: float) -> Measured | None:
    """What a run measured that is like what is planned."""
    try:
        found = measured(run)
        if found is None:
            return None
        if load_place(run.path).processes > 1:
            return None
        then, machine = run.spec(), read_json(run.path / "env.json")["hardware"]
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    same = ("method", "objective", "dtype", "batch_size", "micro_batch", "threads", "share_prefix", "curriculum")
    rows = found.steps * then.train.batch_size
    alike = (
        then.model == model
        and then.lora == lora
        and machine == hardware().model_dump()
        and all(getattr(then.train, field) == getattr(train, field) for field in same)
        and bool(then.train.replay) == bool(train.replay)
        and abs(found.tokens / rows / tokens - 1) < ALIKE
    )
    return found if alike else None


def catalogue_shape(model: ModelSpec) -> Shape | None:
    row = next((row for row in models() if row.name == model.name), None)
    wanted = ("parameters", "layers", "hidden", "intermediate", "heads", "key_value_heads", "vocabulary")
    found = {key: getattr(row, key) for key in wanted} if row else {}
    return Shape(**found) if found and None not in found.values() else None


def token_lengths(folder: Path, data: Prepared) -> Lengths:
    """Of the training rows: counted where the tokenizer is at hand, else estimated from their characters."""
    replies = 2 if data.pairs else 1
    sample = [each for row in data.train[:SAMPLE] for each in both_replies(row)]
    if not (folder / "tokenizer.json").exists():
        characters = sum(len(str(m["content"])) for row in sample for m in row["messages"])
        return Lengths(mean=replies * characters / CHARACTERS_PER_TOKEN / len(sample), replies=replies)
    template = ChatTemplate(folder)
    ids = [template.encode(template.render(row["messages"])) for row in sample]
    shared = next((i for i, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1), 0)
    return Lengths(mean=replies * sum(map(len, ids)) / len(ids), shared=shared, replies=replies)


def what_fits(model: ModelSpec, data: Prepared, lora: LoraSpec, train: TrainSpec) -> str:
    """What would fit instead of this training."""
    small = train.model_copy(update={"micro_batch": 1})
    quantised = small.model_copy(update={"method": "qlora"})
    for other, words in ((small, "Set train.micro_batch: 1 in the spec"), (quantised, "Train with --method qlora")):
        if (predict(model, data, lora, other) or {}).get("fits"):
            return f"{words}, which fits."
    return "Choose a smaller base model (`finetune models --memory ...`)."


def method_that_fits(
    model: ModelSpec, data: Prepared, lora: LoraSpec, train: TrainSpec, reasons: dict[str, Reason]
) -> TrainSpec:
    """LoRA, or QLoRA where only that fits."""
    predicted = predict(model, data, lora, train)
    if predicted is None or predicted["fits"]:
        return train
    quantised = train.model_copy(update={"method": "qlora"})
    if not (predict(model, data, lora, quantised) or {}).get("fits"):
        return train
    need, have = predicted["memory_bytes"]["expected"] / 2**30, hardware().memory / 2**30
    why = f"LoRA needs about {need:.1f} GiB of the {have:.1f} GiB here (estimated); the base in 4 bits fits."
    reasons["train.method"] = Reason(reason=why, source=fact("defaults", "quantization").source[0])
    return quantised
