"""`make bench-predict`: what a plan says that a training takes, beside what it then took, on unlike configurations.

Each plan measures a few steps itself; nothing of the training is known to it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from kills import finetune
from quiet import wait_for_quiet

WORDS = [
    "account", "address", "alert", "amount", "app", "bank", "bill", "card", "cash", "change", "check", "code",
    "country", "date", "debit", "device", "error",
]  # fmt: skip
WORKLOADS = {"short": 12, "long": 220}
"""words of a question"""
CONFIGURATIONS = [
    ("embedded", "lora", "short"), ("embedded", "qlora", "long"), ("embedded", "full", "short"),
    ("small", "lora", "long"), ("small", "full", "long"), ("small", "qlora", "short"),
]  # fmt: skip
"""two models, three methods, two lengths"""


def rows(words: int, count: int = 160) -> list[dict[str, Any]]:
    rng = random.Random(words)
    found = []
    for _ in range(count):
        question = " ".join(rng.choice(WORDS) for _ in range(rng.randint(words // 2, words + words // 2)))
        label = max(WORDS, key=question.count)
        turns = [("system", "Name the word that occurs most."), ("user", question), ("assistant", label)]
        found.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return found


def small_model(folder: Path, like: Path) -> Path:
    """A Llama shape of its own with random weights, under the tokenizer of the embedded model."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(like, local_files_only=True)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def embedded(home: Path, data: Path) -> Path:
    """The folder of the prepared embedded model."""
    probe = finetune(home, "plan", str(data))["estimate"]["basis"]
    marker = home / "runs" / probe / "stages" / "prepare_model.json"
    return Path(json.loads(marker.read_text(encoding="utf-8"))["folder"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patience", type=float, default=300, help="seconds to wait for a quiet machine")
    options = parser.parse_args()
    worst = 0.0
    print("| model | method | rows | predicted s | took | off by | predicted GiB | took | off by |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, words in WORKLOADS.items():
            files[name] = Path(folder) / f"{name}.jsonl"
            lines = "".join(json.dumps(row) + "\n" for row in rows(words))
            files[name].write_text(lines, encoding="utf-8")
        base = embedded(Path(folder) / "first", files["short"])
        models = {"embedded": base, "small": small_model(Path(folder) / "model", base)}
        for place, (model, method, length) in enumerate(CONFIGURATIONS):
            home = Path(folder) / f"home-{place}"
            words = (str(files[length]), "--base-model", str(models[model]), "--method", method)
            wait_for_quiet(options.patience)
            plan = finetune(home, "plan", *words)["estimate"]
            took = finetune(home, "train", *words)["metrics"]
            seconds, memory = plan["seconds"]["expected"], plan["memory_bytes"]["expected"]
            off = [seconds / took["seconds"] - 1, memory / took["peak_memory_bytes"] - 1]
            worst = max(worst, *map(abs, off))
            gib = [f"{value / 2**30:.2f}" for value in (memory, took["peak_memory_bytes"])]
            line = [model, method, length, f"{seconds:.1f}", f"{took['seconds']:.1f}", f"{off[0]:+.0%}"]
            print("| " + " | ".join([*line, *gib, f"{off[1]:+.0%}"]) + " |", flush=True)
    print(f"\nfarthest off: {worst:.0%}")
    return 0 if worst <= 0.2 else 1


if __name__ == "__main__":
    sys.exit(main())
