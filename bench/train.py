"""`make bench-train`: real tokens per second, memory and evaluation loss of training, beside public alternatives.

The same rows, base model, batch size, seed, learning rate and steps for all, on the CPU; each system alone in a process
of its own, one after another, in turns where there are repeats. Figures differ from day to day: only the ratios of one
run mean something. Real tokens are those of the rows as the template renders them, counted here once for all; padding
never counts. A system's seconds are those of its training loop, first step included, without loading the model.
Waiting threads of all spin briefly, as ours do: else another busy program would slow down the peers alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from peers import RESULTS, ROOT, python_of
from quiet import Others, wait_for_quiet
from train_data import Row, Workload, missing, workload
from train_table import Found, table

from executor.hardware import cpu_name
from executor.prepare_model import prepare_model
from executor.template import ChatTemplate
from tools.base_model import resolve_model

SCRIPTS = Path(__file__).resolve().parent / "train_peers"
INSTALLED = {
    "tinyforge": ["tinyforge[finetune]==0.1.2", "torch==2.13.0", "--constraint", str(ROOT / "constraints.txt")]
}
"""what a peer's environment holds; TRL is in our own"""
SYSTEMS: dict[str, dict[str, Any]] = {
    "ours": {"script": "ours"},
    "trl-fp32": {"script": "trl", "dtype": "float32"},
    "trl-bf16": {"script": "trl", "dtype": "bfloat16"},
    "tinyforge": {"script": "tinyforge"},
}
WARMUP_SHARE = 0.03


def warmup_steps(steps: int) -> int:
    """As the product's plan has it."""
    return max(1, round(steps * WARMUP_SHARE))


@dataclass(frozen=True)
class Bench:
    """One workload on this machine: its files, and what all systems are given."""

    folder: Path
    model: Path
    work: Workload
    options: argparse.Namespace

    def job(self, system: str, steps: int, number: int) -> dict[str, Any]:
        epochs = math.ceil(steps * self.options.batch_size / len(self.work.train))
        return {
            "model": str(self.model),
            "train": str(self.folder / "train.jsonl"),
            "held_out": str(self.folder / "held_out.jsonl"),
            "test": str(self.folder / "test.jsonl") if self.work.test else None,
            "out": str(self.folder / f"{system}-{number}"),
            "steps": steps,
            "epochs": epochs,
            "batch_size": self.options.batch_size,
            "learning_rate": self.options.learning_rate,
            "warmup_steps": warmup_steps(steps),
            "max_length": 2048,
            "dropout": self.options.dropout,
            "seed": self.options.seed,
            **SYSTEMS.get(system, {}),
        }

    def run(self, script: str, job: dict[str, Any]) -> Found | None:
        """What a script found, in a process of its own; None with a line that says what went wrong."""
        python = python_of(script, INSTALLED)
        if python is None:
            return None
        Path(job["out"]).mkdir(parents=True, exist_ok=True)
        file = Path(job["out"]) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TOKENIZERS_PARALLELISM": "false",
        }
        program = [python, str(SCRIPTS / f"{script}_peer.py"), str(file)]
        done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=job["out"])
        if done.returncode != 0:
            print(f"left out: {Path(job['out']).name} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
            return None
        found: Found = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def losses(self, runs: dict[str, list[Found]]) -> Found:
        """Of the base and of the adapters of the first turn, where all were trained equally long."""
        equal = self.options.equal_loss and not self.work.epochs
        done = {system: found[0]["adapter"] for system, found in runs.items() if found and (equal or system == "ours")}
        job = {
            "model": str(self.model),
            "held_out": str(self.folder / "held_out.jsonl"),
            "out": str(self.folder / "loss"),
        }
        return self.run("loss", job | {"adapters": {"base": None} | done}) or {}

    def tokens(self, steps: int) -> float:
        """Real tokens of so many steps: the last batch of an epoch may be smaller."""
        rows, size = len(self.work.train), self.options.batch_size
        epochs, rest = divmod(steps, math.ceil(rows / size))
        seen: int = epochs * rows + min(rest * size, rows)
        return seen * mean_tokens(self.model, self.work.train)

    def steps_of(self, system: str, number: int) -> int:
        """All train equally long where losses are compared; else ours whole epochs, others enough to tell a rate."""
        if self.work.epochs:
            whole = self.work.epochs * math.ceil(len(self.work.train) / self.options.batch_size)
            return whole if system == "ours" else int(self.options.steps)
        return int(self.options.equal_loss if number == 0 and self.options.equal_loss else self.options.steps)

    def measure(self, system: str, number: int) -> Found | None:
        steps = self.steps_of(system, number)
        job = self.job(system, steps, number)
        wait_for_quiet(self.options.patience)
        with Others() as others:
            found = self.run(job["script"], job)
        if found is None:
            return None
        found |= {
            "turn": number,
            "steps": steps,
            "others": others.mean,
            "tokens_per_second": self.tokens(steps) / found["seconds"],
        }
        print(f"  {system} {steps} steps: {found['tokens_per_second']:.0f} real tokens/s", file=sys.stderr, flush=True)
        return found


def mean_tokens(model: Path, rows: Sequence[Row]) -> float:
    template = ChatTemplate(model)
    return statistics.fmean(template.count(row["messages"]) for row in rows)


def common_start(model: Path, rows: Sequence[Row]) -> int:
    """Tokens that all rows begin with."""
    template = ChatTemplate(model)
    ids = [template.encode(template.render(row["messages"])) for row in rows]
    return next(i for i, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def bench(name: str, model: Path, options: argparse.Namespace) -> tuple[Found, bool]:
    """The record of a workload, and whether everything ran."""
    work = workload(name, options.seed)
    runs: dict[str, list[Found]] = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        one = Bench(Path(folder), model, work, options)
        for part in ("train", "held_out", "test"):
            write_rows(Path(folder) / f"{part}.jsonl", getattr(work, part))
        for number in range(options.repeats):
            for system, done in runs.items():
                if found := one.measure(system, number):
                    done.append(found)
        losses = one.losses(runs)
    whole = bool(losses) and all(len(done) == options.repeats for done in runs.values())
    record = {
        "rows": len(work.train),
        "tokens_per_row": mean_tokens(model, work.train),
        "shared_tokens": common_start(model, work.train),
        "eval_losses": losses,
        "runs": runs,
        "ratios": {system: ratios(runs, system) for system in SYSTEMS},
    }
    print(table(name, work, record), flush=True)
    return record, whole


def ratios(runs: dict[str, list[Found]], system: str) -> list[float]:
    """Ours against a system, turn by turn."""
    ours = {run["turn"]: run["tokens_per_second"] for run in runs["ours"]}
    return [ours[run["turn"]] / run["tokens_per_second"] for run in runs[system] if run["turn"] in ours]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["shared", "plain", "long"])
    parser.add_argument("--long", action="store_true", help="the workload with long rows too")
    parser.add_argument("--repeats", type=int, default=1, help="turns; ratios are the median")
    parser.add_argument("--steps", type=int, default=20, help="steps where only the rate is measured")
    parser.add_argument("--equal-loss", type=int, default=40, help="steps of all in the first turn; 0: no losses")
    parser.add_argument("--patience", type=float, default=300, help="seconds to wait for others to leave the cores")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--dropout", type=float, default=0.05, help="of TRL's adapter; ours and tinyforge plan none")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    names = [options.only] if options.only else ["shared", "plain", *(["long"] if options.long else [])]
    model = prepare_model(resolve_model(None), lambda line: print(line, file=sys.stderr))
    today = date.today().isoformat()
    target = RESULTS / f"train-{today}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    # what was measured earlier on the day stays, workload by workload
    results: Found = json.loads(target.read_text(encoding="utf-8"))["results"] if target.exists() else {}
    record: Found = {"date": today, "cores": os.cpu_count(), "machine": cpu_name(), "results": results}
    fine = True
    for name in names:
        if why := missing(name):
            print(f"skipped: {name}: {why}")
            continue
        found, whole = bench(name, model, options)
        results[name] = {"options": vars(options)} | found
        target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        fine = fine and whole
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
