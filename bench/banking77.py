"""`make bench`: the main job on Banking77, ten intents, 20 training and 15 test rows each. Prints what was measured."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(os.environ.get("BANKING77") or Path(__file__).resolve().parents[2] / "shared" / "data" / "intent")


def read(file: str) -> list[tuple[str, str]]:
    with open(DATA / file, newline="", encoding="utf-8") as rows:
        return [(row["text"], row["category"]) for row in csv.DictReader(rows)]


def sample(file: str, labels: list[str], per_label: int, out: Path, rng: random.Random) -> Path:
    rows = read(file)
    picked = [row for label in labels for row in rng.sample([r for r in rows if r[1] == label], per_label)]
    rng.shuffle(picked)
    with open(out, "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["text", "category"])
        writer.writerows(picked)
    return out


def main() -> int:
    if not (DATA / "banking77_train.csv").exists():
        print(f"skipped: no Banking77 in {DATA} (name its folder with BANKING77=...)")
        return 0
    rng = random.Random(7)
    labels = sorted(rng.sample(sorted({label for _, label in read("banking77_train.csv")}), 10))
    with tempfile.TemporaryDirectory() as folder:
        train = sample("banking77_train.csv", labels, 20, Path(folder) / "train.csv", rng)
        test = sample("banking77_test.csv", labels, 15, Path(folder) / "test.csv", rng)
        started = time.time()
        command = [sys.executable, "-m", "agent", "go", str(train), "--test", str(test), "--yes", "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    result = json.loads(done.stdout)
    if "error" in result:
        print(result["error"])
        return done.returncode
    print(f"{time.time() - started:.0f} s, verdict {result['verdict']}")
    for system, scores in result["scores"].items():
        score = scores["task_accuracy"]
        print(f"{system:12} {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f}), n = {score['n']}")
    for suite, change in result["regression"].items():
        print(f"{suite:20} {change['before']:.2f} -> {change['after']:.2f} {change['verdict']}")
    metrics = result["metrics"]
    print(f"training {metrics['tokens_per_second']:.0f} real tokens/s, {metrics['peak_memory_bytes'] / 2**30:.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
