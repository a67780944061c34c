"""Axolotl: a YAML for `axolotl train`."""

from __future__ import annotations

from typing import Any

from executor.data.rows import Row
from executor.trainers.plan import (
    OUTPUT,
    TRAIN,
    VALIDATION,
    Plan,
    Written,
    batches,
    every_reply,
    shared_remarks,
    tools,
    turn_of,
    turns,
    validations,
    warmup,
)
from executor.trainers.text import as_jsonl, as_yaml, data_files

CONFIG, COMMAND = "axolotl.yaml", "axolotl train axolotl.yaml"
WEIGHTS = "training"
"""of a turn: false keeps it out of the loss"""


def write(plan: Plan) -> Written:
    told = remarks(plan)
    files = data_files(plan, lambda rows: as_jsonl([row_of(plan, row) for row in rows]))
    return Written(CONFIG, {CONFIG: as_yaml(plan, "axolotl", config(plan), COMMAND, told), **files}, COMMAND, told)


def config(plan: Plan) -> dict[str, Any]:
    micro, accumulated = batches(plan)
    train, tracker = plan.spec.train, plan.spec.tracker
    found: dict[str, Any] = {"base_model": plan.base}
    if plan.spec.model.revision:
        found["revision_of_model"] = plan.spec.model.revision
    found |= {
        **adapter(plan),
        **({"rl": "dpo"} if plan.pairs else {}),
        "chat_template": "tokenizer_default",
        "datasets": [dataset(plan, TRAIN)],
        **({"test_datasets": [dataset(plan, VALIDATION)]} if plan.validation else {}),
        "val_set_size": 0.0,
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "train_on_inputs": False,
        "micro_batch_size": micro,
        "gradient_accumulation_steps": accumulated,
        "optimizer": "adamw_torch_fused",
        "lr_scheduler": "cosine",
        "warmup_steps": warmup(plan),
        "bf16": train.dtype == "bfloat16",
        "fp16": train.dtype == "float16",
        **saved(plan),
        "logging_steps": 1,
        "output_dir": OUTPUT,
        **plan.renamed("axolotl"),
    }
    if not plan.pairs:
        found["excess_length_strategy"] = "truncate" if "too_long" in train.allow else "raise"
    if tracker:
        found[f"use_{tracker}"] = True
    return found | ({"torch_compile": True} if train.compile else {})


def adapter(plan: Plan) -> dict[str, Any]:
    if not plan.adapts:
        return {}
    method, targets = plan.spec.train.method, plan.spec.lora.target_modules
    whole = {"lora_target_linear": True} if isinstance(targets, str) else {"lora_target_modules": list(targets)}
    four = method == "qlora"
    return {
        "adapter": "qlora" if four else "lora",
        "load_in_4bit": four,
        **whole,
        **({"peft_use_dora": True} if method == "dora" else {}),
    }


def saved(plan: Plan) -> dict[str, Any]:
    """When to validate and save. Ending early needs both counted in steps: an epoch's steps are those of the plan."""
    train, found = plan.spec.train, validations(plan)
    if not ends_early(plan):
        return found
    every = train.evaluate_every or max(1, round(train.steps / train.epochs))
    counted = {"eval_strategy": "steps", "eval_steps": every, "save_strategy": "steps", "save_steps": every}
    return found | counted | {"early_stopping_patience": train.patience}


def ends_early(plan: Plan) -> bool:
    return bool(plan.spec.train.patience and plan.validation)


def dataset(plan: Plan, path: str) -> dict[str, Any]:
    if plan.pairs:
        return {
            "path": path, "split": "train", "type": "chat_template.default", "field_messages": "messages",
            "field_chosen": "chosen", "field_rejected": "rejected",
        }  # fmt: skip
    some = {} if every_reply(plan.rows) else {"message_field_training": WEIGHTS}
    return {
        "path": path, "ds_type": "json", "split": "train", "type": "chat_template", "field_messages": "messages",
        "roles_to_train": ["assistant"], "train_on_eos": "turn", **some,
    }  # fmt: skip


def row_of(plan: Plan, row: Row) -> Row:
    said = turns(row)
    if plan.pairs:
        return {"messages": said[:-1], "chosen": said[-1], "rejected": turn_of(row["rejected"])}
    if not every_reply(plan.rows):
        for turn, given in zip(said, row["messages"], strict=True):
            if given.get("weight", 1) == 0:
                turn[WEIGHTS] = False
    return {**tools(row), "messages": said}


def remarks(plan: Plan) -> list[str]:
    told = plan.without("axolotl")
    most, cut = plan.spec.train.max_length, "too_long" in plan.spec.train.allow
    if plan.pairs:
        told.append(f"A pair over {most} tokens is left out there; here it is {'cut' if cut else 'refused'}.")
        told.append("A reply that the chat template writes otherwise than it stands in the row is searched for there.")
    if warmup(plan) == 1:
        told.append("A warm-up of one step: Axolotl makes two of it.")
    if ends_early(plan) and not plan.spec.train.evaluate_every:
        told.append("A validation an epoch: counted in steps, which ending early needs there.")
    return [*told, *shared_remarks(plan)]
