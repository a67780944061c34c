"""The table that `bench/train.py` prints for a workload."""

from __future__ import annotations

import math
import statistics
from typing import Any

from train_data import Workload

Found = dict[str, Any]


def table(name: str, work: Workload, record: Found) -> str:
    about = (
        f"{record['rows']} rows of {record['tokens_per_row']:.0f} tokens, the first {record['shared_tokens']} the same "
        f"in all; evaluation loss of the base {shown(record['eval_losses'].get('base'))}."
    )
    lines = [
        f"\n## {name}\n\n{work.note}. {about}\n",
        "| system | real tokens/s | ours is | peak RSS MiB | eval loss | steps | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for system, done in record["runs"].items():
        if not done:
            lines.append(f"| {system} | left out | | | | | |")
            continue
        rate = statistics.median(run["tokens_per_second"] for run in done)
        ratio = statistics.median(record["ratios"][system] or [math.nan])
        peak = statistics.median(run["peak_mib"] for run in done)
        first = done[0]
        cells = f"{rate:,.0f} | {ratio:.2f} x | {peak:,.0f} | {shown(record['eval_losses'].get(system))}"
        lines.append(f"| {system} | {cells} | {first['steps']} | {first['seconds']:.1f} |")
    noise = max((run["others"] for done in record["runs"].values() for run in done), default=0.0)
    if noise > 0.2:
        lines.append(f"\nOther programs used up to {noise:.1f} cores meanwhile: measure again on an idle machine.")
    trl = [statistics.median(found) for key, found in record["ratios"].items() if key.startswith("trl") and found]
    if trl:
        lines.append(f"\nAgainst the better of TRL's two: {min(trl):.2f} x.")
    ours = record["runs"]["ours"][0] if record["runs"]["ours"] else {}
    if "exact_match" in ours:
        scores = ", ".join(f"{system} {score['value']:.3f}" for system, score in ours["exact_match"].items())
        lines.append(
            f"\nExact match on {len(work.test)} test rows: {scores}. The training command took "
            f"{ours['command_seconds']:.0f} s, the evaluation {ours['evaluate_seconds']:.0f} s."
        )
    return "\n".join(lines)


def shown(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"
