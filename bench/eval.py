"""`make bench-eval`: our generation beside stock `generate` on the same rows, model and number format, in one run.

The model is a tuned one, as an evaluation has it: a LoRA that `finetune train` made, loaded by peft.
Stock is transformers' `generate` as its pages show it: greedy, one prompt at a time, and in batches padded on the left.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kills import finetune
from quiet import Others, wait_for_quiet
from train_data import banking, intents, missing

BATCHES = (1, 16, 64)
NEW_TOKENS = 24
TRAINED = {10: 20, 77: 6}
"""intents -> training rows of each, for the adapter that answers"""


def embedded() -> Path:
    """The folder of the prepared embedded model; fetched where it is not on this disk."""
    from executor.prepare_model import prepare_model
    from tools.base_model import resolve_model

    return prepare_model(resolve_model(None), print)


def stock(model: Any, tokenizer: Any, prompts: list[list[int]], size: int) -> list[list[int]]:
    import torch

    tokenizer.padding_side = "left"
    found = []
    for start in range(0, len(prompts), size):
        batch = tokenizer.pad({"input_ids": prompts[start : start + size]}, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        found += out[:, batch["input_ids"].shape[1] :].tolist()
    return found


def ours(model: Any, ends: set[int], prompts: list[list[int]]) -> list[list[int]]:
    """As an evaluation answers: all at once, then near ties one by one."""
    from executor.evaluate.generate import generate, settle

    answers = generate(model, prompts, ends, NEW_TOKENS, 160)
    answers = settle(model, prompts, answers, ends, NEW_TOKENS)
    return [list(each.ids) for each in answers]


def until_end(ids: list[int], ends: set[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def timed(work: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]], float]:
    with Others() as others:
        started = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - started
    return seconds, found, others.mean


def measure(name: str, folder: Path, rows: list[dict[str, Any]], adapter: Path, batches: tuple[int, ...]) -> Any:
    from transformers import AutoTokenizer

    from executor.template import ChatTemplate
    from executor.train.model import load_adapter, load_base

    template, tokenizer = ChatTemplate(folder), AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = load_adapter(load_base(folder, "bfloat16"), adapter)
    prompts = [template.prompt_ids(row["messages"][:-1]) for row in rows]
    ends = template.end_ids
    ours(model, ends, prompts[:4])
    stock(model, tokenizer, prompts[:2], 1)
    seconds, answers, others = timed(lambda: ours(model, ends, prompts))
    found: dict[str, Any] = {"name": name, "rows": len(rows), "ours": {"seconds": seconds, "others": others}}
    found["prompt_tokens"] = sum(map(len, prompts)) / len(prompts)
    for size in batches:
        took, said, others = timed(lambda size=size: stock(model, tokenizer, prompts, size))  # type: ignore[misc]
        same = sum(until_end(a, ends) == until_end(b, ends) for a, b in zip(answers, said, strict=True))
        found[f"stock {size}"] = {"seconds": took, "others": others, "same": same / len(rows), "times": took / seconds}
        print(f"{name:22} stock, batch {size:2}: {took:7.1f} s, ours {seconds:6.1f} s, {took / seconds:5.1f} times, "
              f"the same answer on {same / len(rows):.1%}", flush=True)  # fmt: skip
    return found


def adapter_of(rows: list[dict[str, Any]], home: Path) -> Path:
    """An adapter that `finetune train` makes of these rows with its own settings."""
    data = home / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Path(finetune(home, "train", str(data))["run"]) / "adapter"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--adapters", type=Path, nargs=2, help="for 10 and for 77 intents; trained here if not given")
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--patience", type=float, default=300)
    options = parser.parse_args()
    if why := missing("shared"):
        print(f"Nothing measured: {why}.")
        return 3
    folder = embedded()
    rng, results = random.Random(7), []
    labels = sorted({label for _, label in banking("train")})
    for place, (count, each) in enumerate(TRAINED.items()):
        chosen = sorted(rng.sample(labels, count))
        rows = intents("test", chosen, -(-options.rows // count), rng)[: options.rows]
        with tempfile.TemporaryDirectory() as home:
            train = intents("train", chosen, each, random.Random(1))
            adapter = options.adapters[place] if options.adapters else adapter_of(train, Path(home))
            wait_for_quiet(options.patience)
            results.append(measure(f"Banking77, {count} intents", folder, rows, adapter, tuple(options.batches)))
    out = Path(".bench/results")
    out.mkdir(parents=True, exist_ok=True)
    (out / f"eval-{time.strftime('%Y-%m-%d')}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
