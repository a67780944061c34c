"""tinyforge's fine-tuning as its own command calls it, with its planner off so that it keeps the batch it is given.

Without a GPU it computes in float32. Its learning rate falls to a tenth, not to zero; its dropout is 0 by default.
The seconds are those of its steps: its evaluations before and after them are left out.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from common import peak_mib, read_job, report
from tinyforge.finetune import FTConfig, train


def main() -> None:
    job = read_job()
    out = Path(job["out"])
    data = out / "data"
    data.mkdir(parents=True)
    shutil.copy(job["train"], data / "train.jsonl")
    shutil.copy(job["held_out"], data / "val.jsonl")
    config = FTConfig(
        base_model=job["model"],
        run_dir=out / "run",
        data_dir=data,
        max_len=job["max_length"],
        max_steps=job["steps"],
        batch_size=job["batch_size"],
        grad_accum=1,
        lr=job["learning_rate"],
        warmup_steps=job["warmup_steps"],
        eval_interval=job["steps"],
        seed=job["seed"],
        auto_plan=False,
    )
    times: dict[str, float] = {}

    def note(event: dict[str, Any]) -> None:
        times.setdefault(f"{event['event']} {event.get('step')}", time.perf_counter())

    summary = train(config, note)
    # it tells of every fifth step; the last evaluation saves the adapter if it is better than the base
    told = max(step for step in range(5, job["steps"] + 1, 5) if f"step {step}" in times)
    seconds = (times[f"step {told}"] - times["eval 0"]) * job["steps"] / told
    report(
        seconds=seconds,
        peak_mib=peak_mib(),
        adapter=str(out / "run" / "best"),
        own_eval_loss=summary["best_val_loss"],
    )


if __name__ == "__main__":
    main()
