"""One evaluation loss for all adapters: plain transformers and peft, float32, mean cross entropy of replies' tokens.

A reply's tokens are those after the prompt, through its end of turn: what every system here trains.
"""

from __future__ import annotations

from typing import Any

import torch
from common import read_job, read_rows, report
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def encoded(messages: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], int]:
    """Ids up to the end of the reply, and where the reply starts."""
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    assert ids[: len(prompt)] == prompt
    end = len(ids) - ids[::-1].index(tokenizer.eos_token_id)
    assert end > len(prompt)
    return ids[:end], len(prompt)


@torch.no_grad()
def mean_loss(model: Any, rows: list[tuple[list[int], int]]) -> float:
    total, count = 0.0, 0
    for ids, start in rows:
        logits = model(input_ids=torch.tensor([ids]), logits_to_keep=len(ids) - start + 1).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum").item()
        count += len(ids) - start
    return total / count


def main() -> None:
    job = read_job()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = [encoded(row["messages"], tokenizer) for row in read_rows(job["held_out"])]
    losses = {}
    for system, adapter in job["adapters"].items():
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
        if adapter:
            model = PeftModel.from_pretrained(model, adapter)
        losses[system] = mean_loss(model.eval(), rows)
    report(**losses)


if __name__ == "__main__":
    main()
