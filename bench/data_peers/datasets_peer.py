"""A plain Hugging Face `datasets` pipeline: load, map a check over the rows, drop exact duplicates by a set."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import arguments, report

ROLES = {"system", "user", "assistant"}


def sound(row: dict[str, Any]) -> bool:
    turns = row["messages"]
    return bool(turns) and all(turn["role"] in ROLES and turn["content"] for turn in turns)


def pipeline(path: Path, whole: bool) -> dict[str, Any]:
    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        total = len(rows)
        rows = rows.filter(sound)
        if whole:
            seen: set[str] = set()

            def fresh(row: dict[str, Any]) -> bool:
                key = "\n".join(turn["content"] for turn in row["messages"])
                return not (key in seen or seen.add(key))

            rows = rows.filter(fresh)
        return {"rows": total, "found": f"{len(rows)} rows kept"}


if __name__ == "__main__":
    task, data = arguments()
    report(lambda: pipeline(data, task == "whole"))
