"""`make bench-qlora`: whether QLoRA trains as well as LoRA: Banking77, ten intents, several seeds, answers to rows.

Both methods are given the same rows, steps, learning rate and seeds by the product's own plan; exact match is measured
by `finetune evaluate` on the same sealed test rows. Exit code 1 where QLoRA's mean is more than 5 points lower.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from banking77 import DATA, read, sample
from kills import finetune

METHODS = ("lora", "qlora")
POINTS = 0.05
"""how much lower QLoRA's mean may be"""


def trained(home: Path, data: Path, test: Path, method: str, seed: int) -> dict[str, Any]:
    """Exact match of the base and of the tuned model, and what the training took."""
    spec_file = home / f"{method}-{seed}.yaml"
    words = ("plan", str(data), "--method", method, "--no-measure", "--out", str(spec_file))
    finetune(home, *words)
    spec = yaml.safe_load(spec_file.read_text(encoding="utf-8"))
    spec["train"]["seed"] = seed
    spec_file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    done = finetune(home, "train", str(spec_file))
    scores = finetune(home, "evaluate", done["run"], "--data", str(test))["scores"]
    return {
        "method": method,
        "seed": seed,
        "exact": {system: score["task_accuracy"]["value"] for system, score in scores.items()},
        "rows": scores["fine_tuned"]["task_accuracy"]["n"],
        **{key: done["metrics"][key] for key in ("seconds", "tokens_per_second", "peak_memory_bytes", "eval_loss")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--each", type=int, default=20, help="training rows of an intent")
    parser.add_argument("--test-each", type=int, default=40, help="test rows of an intent")
    options = parser.parse_args()
    if not (DATA / "banking77_train.csv").exists():
        print(f"skipped: no Banking77 in {DATA} (name its folder with BANKING77=...)")
        return 0
    rng = random.Random(7)
    labels = sorted(rng.sample(sorted({label for _, label in read("banking77_train.csv")}), 10))
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        train = sample("banking77_train.csv", labels, options.each, home / "train.csv", rng)
        test = sample("banking77_test.csv", labels, options.test_each, home / "test.csv", rng)
        for seed in range(options.seeds):
            for method in METHODS:
                one = trained(home, train, test, method, seed)
                found[method].append(one["exact"]["fine_tuned"])
                print(json.dumps(one), flush=True)
    means = {method: statistics.fmean(values) for method, values in found.items()}
    print(", ".join(f"{method}: mean {mean:.3f} of {found[method]}" for method, mean in means.items()))
    return 0 if means["qlora"] >= means["lora"] - POINTS else 1


if __name__ == "__main__":
    sys.exit(main())
