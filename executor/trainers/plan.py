"""A plan on its way to another trainer: the spec, the rows that are trained, and what every writer needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from executor.data.rows import LEAD, Row
from executor.data.structure import has_call
from executor.spec import RunSpec
from executor.spec_part import Part

TrainerName = Literal["trl", "axolotl", "llamafactory", "unsloth"]
TRAIN, VALIDATION = "data/train.jsonl", "data/validation.jsonl"
HELD_OUT = "held_out/test.jsonl"
"""in a folder that no configuration names"""
OUTPUT = "output"
"""the folder, beside the configuration, that the trainer writes to"""
_TURN = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
"""what a chat template may read of a turn"""


class Trainer(Part):
    title: str
    version: str
    """whose sources the keys were read in"""
    read_on: Any
    sources: tuple[str, ...]


class Missing(Part):
    plain: Any = None
    can: tuple[TrainerName, ...] = ()
    says: str


class Keys(Part):
    """keys.yaml: every field of a training has a name there, or is told as missing."""

    trainers: dict[TrainerName, Trainer]
    keys: dict[str, dict[str, str]]
    made: tuple[str, ...]
    missing: dict[str, Missing]
    ours: tuple[str, ...]
    faults: tuple[str, ...] = Field(default=())


@cache
def keys() -> Keys:
    text = Path(__file__).with_name("keys.yaml").read_text(encoding="utf-8")
    return Keys.model_validate(yaml.safe_load(text))


@dataclass(frozen=True)
class Plan:
    spec: RunSpec
    base: str
    """what the trainer loads: a hub id, or the folder of a model on this disk"""
    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row] = ()
    """held out: what the result is measured on; no trainer is told of them"""

    @property
    def pairs(self) -> bool:
        return self.spec.train.objective == "dpo"

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained, not every weight."""
        return self.spec.train.method != "full"

    @property
    def rows(self) -> list[Row]:
        return [*self.train, *self.validation]

    def value(self, field: str) -> Any:
        """`train.learning_rate` of the spec."""
        found: Any = self.spec
        for name in field.split("."):
            found = getattr(found, name)
        return found

    def renamed(self, *columns: str) -> dict[str, Any]:
        """Their name -> our value, for every field that is only called something else, in the order of keys.yaml."""
        found = {}
        for field, names in keys().keys.items():
            name = next((names[column] for column in columns if column in names), None)
            applies = self.adapts if field.startswith("lora.") else self.pairs if field == "train.beta" else True
            if name and applies:
                found[name] = self.value(field)
        return found

    def without(self, trainer: TrainerName) -> list[str]:
        """What the plan has and the trainer cannot be told, in sentences."""
        told = []
        for field, missing in keys().missing.items():
            value = self.value(field)
            if value != missing.plain and trainer not in missing.can:
                told.append(missing.says.format(value=value))
        if self.spec.train.select == "task_metric":
            told.append("The state that answers the task best: kept is the one with the lowest validation loss.")
        return told


@dataclass(frozen=True)
class Written:
    """What a trainer gets: text of each file by its name in the folder, and what to know about it."""

    config: str
    """name of the file with the configuration"""
    files: dict[str, str]
    command: str
    """run in the folder"""
    missing: list[str]
    """what of the plan has no equivalent there, or another meaning; sentences"""


def batches(plan: Plan) -> tuple[int, int]:
    """(rows computed at once, how often before a step): together the plan's batch, whatever `micro_batch` says."""
    whole = plan.spec.train.batch_size
    most = min(plan.spec.train.micro_batch or whole, whole)
    micro = next(size for size in range(most, 0, -1) if whole % size == 0)
    return micro, whole // micro


def warmup(plan: Plan) -> int:
    """Steps with a rising rate, as our own training counts them."""
    return max(1, round(plan.spec.train.steps * plan.spec.train.warmup_share))


def validations(plan: Plan) -> dict[str, Any]:
    """When to validate and to save, under the names that transformers and Axolotl share.

    Keeping the best state needs a checkpoint at each validation.
    """
    train = plan.spec.train
    saves: dict[str, Any] = {"save_strategy": "steps", "save_steps": train.checkpoint_every}
    if not plan.validation:
        return {"eval_strategy": "no", **saves}
    when: dict[str, Any] = {"strategy": "epoch"}
    if train.evaluate_every:
        when = {"strategy": "steps", "steps": train.evaluate_every}
    found = {f"eval_{name}": value for name, value in when.items()}
    if train.select == "last":
        return found | saves
    saves = {f"save_{name}": value for name, value in when.items()}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    return found | saves | best


def arguments(plan: Plan) -> dict[str, Any]:
    """What TRL, LLaMA-Factory and Unsloth share: transformers' TrainingArguments."""
    micro, accumulated = batches(plan)
    dtype = plan.spec.train.dtype
    return {
        "output_dir": OUTPUT,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": accumulated,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup(plan),
        "optim": "adamw_torch_fused",
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        **validations(plan),
        "logging_steps": 1,
        "report_to": plan.spec.tracker or "none",
        **({"torch_compile": True} if plan.spec.train.compile else {}),
    }


def shared_remarks(plan: Plan) -> list[str]:
    """What is computed otherwise by every one of them."""
    train, told = plan.spec.train, []
    micro, accumulated = batches(plan)
    if train.micro_batch and train.micro_batch != micro:
        told.append(f"micro_batch {train.micro_batch} does not divide the batch: {micro} rows are computed at once.")
    elif not train.micro_batch:
        told.append(
            f"Rows computed at once: {micro}, with {accumulated} for the accumulation. Where memory runs out nothing "
            "is halved by itself: halve the one and double the other."
        )
    told.append("The batch is that of one device: on N devices divide the accumulation by N.")
    told.append("The first warm-up step has the rate zero there, and here the first of the ramp; steps are as many.")
    if plan.validation and train.select != "last":
        told.append(f"A checkpoint every {train.checkpoint_every} steps: one is written at each validation instead.")
    if any(has_call(turn) for row in plan.rows for turn in row["messages"]) or any(
        row.get("tools") for row in plan.rows
    ):
        told.append("Rows that call tools are written, but were never tried there: look at the first rendered row.")
    return told


def turn_of(turn: Row) -> Row:
    """What a chat template reads of a turn; the instructions' role under its usual name."""
    kept = {key: turn[key] for key in _TURN if key in turn}
    return {**kept, "role": "system"} if turn.get("role") in LEAD else kept


def turns(row: Row) -> list[Row]:
    return [turn_of(turn) for turn in row["messages"]]


def tools(row: Row) -> Row:
    return {"tools": row["tools"]} if row.get("tools") else {}


def trained(row: Row) -> list[int]:
    """Places of the turns that the loss sees."""
    return [
        place
        for place, turn in enumerate(row["messages"])
        if turn["role"] == "assistant" and turn.get("weight", 1) != 0
    ]


def last_only(rows: Sequence[Row]) -> bool:
    """Whether of each row the last reply is trained, and nothing else."""
    return all(trained(row) == [len(row["messages"]) - 1] for row in rows)


def every_reply(rows: Sequence[Row]) -> bool:
    """Whether no reply is left out of the loss."""
    return all(turn.get("weight", 1) != 0 for row in rows for turn in row["messages"] if turn["role"] == "assistant")
