"""`finetune train SPEC.yaml`: planned by the product, then given the job's steps, batch, learning rate and seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from common import read_job, read_rows, report

from executor.files import sha256_rows, write_json, write_jsonl


def finetune(folder: Path, *words: str) -> dict[str, Any]:
    """The answer of a command in a workspace of its own. Some good answers come with an exit code above 0."""
    program = [str(Path(sys.executable).parent / "finetune"), *words, "--json"]
    environment = {**os.environ, "FINETUNE_HOME": str(folder / "home")}
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise SystemExit(f"{' '.join(words[:1])}: {answer['error']}")
    return answer


def write_spec(job: dict[str, Any], folder: Path) -> Path:
    """The product's plan with the job's settings, and beside it the rows as a run folder holds them."""
    spec_file = folder / "spec.yaml"
    finetune(folder, "plan", job["train"], "--no-measure", "--out", str(spec_file))
    spec = yaml.safe_load(spec_file.read_text(encoding="utf-8"))
    settings = ("learning_rate", "steps", "epochs", "batch_size", "max_length", "seed")
    spec["train"] |= {key: job[key] for key in settings}
    spec["train"] |= {"select": "last", "patience": 0, "watched_rows": 0}  # peers keep the last state too
    spec_file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    splits = {"train": read_rows(job["train"]), "validation": read_rows(job["held_out"])}
    for name, rows in splits.items():
        write_jsonl(folder / "data" / f"{name}.jsonl", rows)
    sealed = {name: {"rows": len(rows), "sha256": sha256_rows(rows)} for name, rows in splits.items()}
    record = {"version": spec["data"]["version"], "splits": sealed, "source": {}, "lineage": []}
    write_json(folder / "data.json", record)
    return spec_file


def main() -> None:
    job = read_job()
    folder = Path(job["out"])
    spec = write_spec(job, folder)
    start = time.perf_counter()
    answer = finetune(folder, "train", str(spec))
    wall = time.perf_counter() - start
    metrics = answer["metrics"]
    found: dict[str, Any] = {
        "seconds": metrics["seconds"],
        "peak_mib": metrics["peak_memory_bytes"] >> 20,
        "own_eval_loss": metrics["eval_loss"],
        "own_tokens_per_second": metrics["tokens_per_second"],
        "adapter": str(Path(answer["run"]) / "adapter"),
        "command_seconds": wall,
    }
    if job.get("test"):
        start = time.perf_counter()
        scores = finetune(folder, "evaluate", answer["run"], "--data", job["test"])["scores"]
        exact = {system: score["task_accuracy"] for system, score in scores.items()}
        found |= {"exact_match": exact, "evaluate_seconds": time.perf_counter() - start}
    report(**found)


if __name__ == "__main__":
    main()
