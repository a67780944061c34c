"""Unsloth: a short Python script; it speaks with TRL's trainers, so settings and rows are TRL's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executor.trainers.for_trl import longer, masked, objective, row_of
from executor.trainers.plan import OUTPUT, TRAIN, VALIDATION, Plan, Written, arguments, shared_remarks
from executor.trainers.text import as_jsonl, data_files, heading

CONFIG, COMMAND = "unsloth_train.py", "python unsloth_train.py"


class Code(str):
    """Text that stands in the script as it is, not as a string."""

    __slots__ = ()


def write(plan: Plan) -> Written:
    told = remarks(plan)
    files = data_files(plan, lambda rows: as_jsonl([row_of(plan, row) for row in rows]))
    text = heading(plan, "unsloth", COMMAND, told) + script(plan)
    return Written(CONFIG, {CONFIG: text, **files}, COMMAND, told)


def script(plan: Plan) -> str:
    kind = "DPO" if plan.pairs else "SFT"
    names = "FastLanguageModel, PatchDPOTrainer" if plan.pairs else "FastLanguageModel"
    patch = ["", "PatchDPOTrainer()"] if plan.pairs else []
    early = ["from transformers import EarlyStoppingCallback"] if stops(plan) else []
    parts = [
        "import torch",
        "from datasets import load_dataset",
        *early,
        f"from unsloth import {names}  # before trl: it patches it",
        *patch,
        f"from trl import {kind}Config, {kind}Trainer  # noqa: E402",
        "",
        called("model, tokenizer = FastLanguageModel.from_pretrained", loaded(plan)),
        *([called("model = FastLanguageModel.get_peft_model", adapter(plan), Code("model"))] if plan.adapts else []),
        called("rows = load_dataset", {"data_files": files(plan)}, "json"),
        called(f"settings = {kind}Config", settings(plan)),
        called(f"trainer = {kind}Trainer", trainer(plan)),
        "trainer.train()",
        f"trainer.save_model({OUTPUT!r})",
        f"tokenizer.save_pretrained({OUTPUT!r})",
    ]
    return "\n".join(parts) + "\n"


def called(target: str, named: Mapping[str, Any], *first: str) -> str:
    """A call with each argument on a line of its own."""
    given = [written(each) for each in first] + [f"{name}={written(value)}" for name, value in named.items()]
    return f"{target}(\n" + "".join(f"    {each},\n" for each in given) + ")"


def written(value: Any) -> str:
    """As Python reads it back; what is not ASCII is an escape, and so no quote and no line break is in the way."""
    return str(value) if isinstance(value, Code) else ascii(value)


def loaded(plan: Plan) -> dict[str, Any]:
    train = plan.spec.train
    return {
        "model_name": plan.base,
        **({"revision": plan.spec.model.revision} if plan.spec.model.revision else {}),
        "max_seq_length": train.max_length,
        "dtype": Code(f"torch.{train.dtype}"),
        "load_in_4bit": train.method == "qlora",
        "full_finetuning": train.method == "full",
    }


def adapter(plan: Plan) -> dict[str, Any]:
    train, targets = plan.spec.train, plan.spec.lora.target_modules
    given = {name: value for name, value in plan.renamed("unsloth").items() if name != "max_length"}
    return {
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "bias": "none",
        "random_state": train.seed,
        **given,
        **({"use_dora": True} if train.method == "dora" else {}),
    }


def settings(plan: Plan) -> dict[str, Any]:
    shared = plan.renamed("transformers")
    return {**objective(plan), **arguments(plan), **shared, "max_length": plan.spec.train.max_length}


def trainer(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": Code("model"),
        **({"ref_model": None} if plan.pairs and plan.adapts else {}),
        "args": Code("settings"),
        "train_dataset": Code('rows["train"]'),
        **({"eval_dataset": Code('rows["validation"]')} if plan.validation else {}),
        "processing_class": Code("tokenizer"),
    }
    if stops(plan):
        found["callbacks"] = Code(f"[EarlyStoppingCallback(early_stopping_patience={plan.spec.train.patience})]")
    return found


def stops(plan: Plan) -> bool:
    return bool(plan.spec.train.patience and plan.validation)


def files(plan: Plan) -> dict[str, str]:
    return {"train": TRAIN, **({"validation": VALIDATION} if plan.validation else {})}


def remarks(plan: Plan) -> list[str]:
    told = plan.without("unsloth")
    if plan.spec.train.method == "qlora":
        told.append("Unsloth may load its own 4-bit copy of the base; use_exact_model_name=True takes yours.")
    return [*told, *masked(plan), *longer(plan), *shared_remarks(plan)]
