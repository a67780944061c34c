"""LLaMA-Factory: a YAML for `llamafactory-cli train`, and the dataset_info.json that describes the rows.

The rows are described as `sharegpt` with the tags of messages: its formatting `openai` adds words of its own to the
system message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from executor.data.export import calls_of
from executor.data.rows import Row
from executor.data.structure import has_call, plain_text
from executor.trainers.plan import (
    Plan,
    Written,
    arguments,
    every_reply,
    last_only,
    shared_remarks,
    turn_of,
    turns,
)
from executor.trainers.text import as_jsonl, as_yaml, data_files

CONFIG, COMMAND = "llamafactory.yaml", "llamafactory-cli train llamafactory.yaml"
INFO = "data/dataset_info.json"
TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
    "system_tag": "system", "observation_tag": "observation", "function_tag": "function_call",
}  # fmt: skip
ASKING, ANSWERING = ("user", "observation"), ("assistant", "function_call")


def write(plan: Plan) -> Written:
    told = remarks(plan)
    files = data_files(plan, lambda rows: as_jsonl([row_of(plan, row) for row in rows]))
    info = json.dumps(described(plan), indent=2) + "\n"
    text = as_yaml(plan, "llamafactory", config(plan), COMMAND, told)
    return Written(CONFIG, {CONFIG: text, INFO: info, **files}, COMMAND, told)


def config(plan: Plan) -> dict[str, Any]:
    train = plan.spec.train
    found: dict[str, Any] = {"model_name_or_path": plan.base}
    if plan.spec.model.revision:
        found["model_revision"] = plan.spec.model.revision
    found |= {
        "stage": train.objective,
        "do_train": True,
        **({"pref_loss": "sigmoid"} if plan.pairs else {}),
        **adapter(plan),
        "dataset_dir": "data",
        "dataset": "train",
        **({"eval_dataset": "validation"} if plan.validation else {}),
        "packing": False,
        "neat_packing": False,
        "train_on_prompt": False,
        **({} if plan.pairs else {"mask_history": masks_history(plan)}),
        **arguments(plan),
        **plan.renamed("llamafactory", "transformers"),
    }
    if train.patience and plan.validation:
        found["early_stopping_steps"] = train.patience
    return found


def adapter(plan: Plan) -> dict[str, Any]:
    if not plan.adapts:
        return {"finetuning_type": "full"}
    method, targets = plan.spec.train.method, plan.spec.lora.target_modules
    found: dict[str, Any] = {
        "finetuning_type": "lora",
        "lora_target": "all" if isinstance(targets, str) else ",".join(targets),
        "use_dora": method == "dora",
    }
    if method == "qlora":
        four = {"quantization_bit": 4, "quantization_method": "bnb", "quantization_type": "nf4"}
        found |= {**four, "double_quantization": True}
    return found


def described(plan: Plan) -> dict[str, Any]:
    """dataset_info.json: where the rows are, and what they are called."""
    columns = {"messages": "messages"}
    if any(row.get("tools") for row in plan.rows):
        columns["tools"] = "tools"
    if plan.pairs:
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    ranking = {"ranking": True} if plan.pairs else {}
    parts = ("train", "validation") if plan.validation else ("train",)
    return {
        part: {"file_name": f"{part}.jsonl", "formatting": "sharegpt", **ranking, "columns": columns, "tags": TAGS}
        for part in parts
    }


def row_of(plan: Plan, row: Row) -> Row:
    said = [spoken(turn) for turn in turns(row)]
    offered = {"tools": json.dumps(row.get("tools") or [], ensure_ascii=False)}
    more = offered if any(each.get("tools") for each in plan.rows) else {}
    if plan.pairs:
        return {**more, "messages": said[:-1], "chosen": said[-1], "rejected": spoken(turn_of(row["rejected"]))}
    return {**more, "messages": said}


def spoken(turn: Row) -> Row:
    """A turn as it is read there: a role and a text; calls as JSON, what a tool said as an observation."""
    if has_call(turn):
        called = [call.get("function", call) for call in calls_of(turn)]
        return {"role": "function_call", "content": json.dumps(called, ensure_ascii=False)}
    role = "observation" if turn["role"] == "tool" else turn["role"]
    return {"role": role, "content": plain_text(turn.get("content"))}


def masks_history(plan: Plan) -> bool:
    """Whether only last replies are trained, and there are others."""
    return last_only(plan.rows) and not every_reply(plan.rows)


def out_of_turn(plan: Plan, rows: Sequence[Row]) -> int:
    """How many rows are left out there, since the two sides do not speak in turn."""
    count = 0
    for row in rows:
        said = [turn["role"] for turn in row_of(plan, row)["messages"]]
        said = said[1:] if said[:1] == ["system"] else said
        fits = all(role in (ANSWERING if place % 2 else ASKING) for place, role in enumerate(said))
        count += not fits or len(said) % 2 != int(plan.pairs)
    return count


def remarks(plan: Plan) -> list[str]:
    told = plan.without("llamafactory")
    if not plan.pairs and not every_reply(plan.rows) and not masks_history(plan):
        told.append("Some replies have weight 0 here; LLaMA-Factory trains them all.")
    if lost := out_of_turn(plan, plan.rows):
        told.append(f"{lost} rows in which user and assistant do not take turns: LLaMA-Factory leaves them out.")
    told.append(
        "The chat template: without `template`, LLaMA-Factory takes it apart from the tokenizer's own, which fits "
        "plain turns only. Hold a rendered row against yours, or name one of its templates."
    )
    if "too_long" not in plan.spec.train.allow:
        told.append(f"A row over {plan.spec.train.max_length} tokens is cut there; here it is refused.")
    return [*told, *shared_remarks(plan)]
