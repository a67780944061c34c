"""TRL: a YAML for `trl sft --config` or `trl dpo --config`; SFTConfig or DPOConfig, ModelConfig, ScriptArguments."""

from __future__ import annotations

from typing import Any

from executor.data.rows import Row
from executor.trainers.plan import (
    Plan,
    Written,
    arguments,
    every_reply,
    last_only,
    shared_remarks,
    tools,
    turn_of,
    turns,
)
from executor.trainers.text import as_jsonl, as_yaml, data_files

CONFIG = "trl.yaml"


def write(plan: Plan) -> Written:
    remarks = [*plan.without("trl"), *masked(plan), *longer(plan), *shared_remarks(plan)]
    command = f"trl {plan.spec.train.objective} --config {CONFIG}"
    files = data_files(plan, lambda rows: as_jsonl([row_of(plan, row) for row in rows]))
    return Written(CONFIG, {CONFIG: as_yaml(plan, "trl", config(plan), command, remarks), **files}, command, remarks)


def config(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {"model_name_or_path": plan.base}
    if plan.spec.model.revision:
        found["model_revision"] = plan.spec.model.revision
    return {
        **found,
        "dtype": plan.spec.train.dtype if plan.adapts else "float32",
        **adapter(plan),
        "dataset_name": "data",
        "dataset_train_split": "train",
        **({"dataset_test_split": "validation"} if plan.validation else {}),
        **objective(plan),
        **arguments(plan),
        **plan.renamed("trl", "transformers"),
    }


def adapter(plan: Plan) -> dict[str, Any]:
    if not plan.adapts:
        return {"use_peft": False}
    method, targets = plan.spec.train.method, plan.spec.lora.target_modules
    found: dict[str, Any] = {
        "use_peft": True,
        "lora_target_modules": [targets] if isinstance(targets, str) else list(targets),
        "use_dora": method == "dora",
    }
    if method == "qlora":
        found |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    return found


def objective(plan: Plan) -> dict[str, Any]:
    """What the loss sees. Prompt and completion mask by themselves, on any template."""
    if plan.pairs:  # the plan's dropout is the adapter's own, which this would switch off
        return {"loss_type": ["sigmoid"], "disable_dropout": plan.spec.lora.dropout == 0}
    if last_only(plan.rows):
        return {"completion_only_loss": True, "packing": False}
    return {"assistant_only_loss": True, "packing": False}


def row_of(plan: Plan, row: Row) -> Row:
    said = turns(row)
    if plan.pairs:
        return {**tools(row), "prompt": said[:-1], "chosen": said[-1:], "rejected": [turn_of(row["rejected"])]}
    if last_only(plan.rows):
        return {**tools(row), "prompt": said[:-1], "completion": said[-1:]}
    return {**tools(row), "messages": said}


def masked(plan: Plan) -> list[str]:
    """Where the loss sees something else than here."""
    if plan.pairs:
        return []
    if last_only(plan.rows):
        return ["What the chat template writes after the end of a reply, such as a line break, is trained there too."]
    told = [
        "Several replies of a conversation are trained: assistant_only_loss needs a chat template with generation "
        "markers. TRL has its own for the common models and stops with an error for others."
    ]
    if not every_reply(plan.rows):
        told.append("Some replies have weight 0 here; TRL trains them all.")
    return told


def longer(plan: Plan) -> list[str]:
    """Rows beyond max_length are refused here."""
    if "too_long" in plan.spec.train.allow:
        return []
    return [f"A row over {plan.spec.train.max_length} tokens is cut there; here it is refused."]
