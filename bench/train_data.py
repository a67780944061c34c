"""The rows that `bench/train.py` trains on, from public data on this disk; nothing of it is kept in the repository."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
BANKING77 = Path(os.environ.get("BANKING77") or SHARED / "intent")
SNIPS = Path(os.environ.get("SNIPS") or SHARED / "extract")
Row = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """Rows of messages."""

    train: list[Row]
    held_out: list[Row]
    """for the evaluation loss"""
    test: list[Row]
    """for exact match; often none"""
    note: str
    epochs: int | None = None
    """ours trains that long, whatever the number of steps"""


def missing(name: str) -> str | None:
    """Why a workload cannot be made here."""
    folder, file, variable = (
        (SNIPS, "snips_train.jsonl", "SNIPS") if name == "plain" else (BANKING77, "banking77_train.csv", "BANKING77")
    )
    return None if (folder / file).exists() else f"no {file} in {folder} (name its folder with {variable}=...)"


def workload(name: str, seed: int) -> Workload:
    rng = random.Random(seed)
    if name == "plain":
        note = "SNIPS, intent and slots as JSON; no system message, so only the template's own text is shared"
        return Workload(snips("train", 200, rng), snips("validate", 50, rng), [], note)
    labels = sorted({label for _, label in banking("train")})
    if name == "shared":
        labels = sorted(rng.sample(labels, 10))
        note = "Banking77, 10 intents, the list of them in the prompt"
        return Workload(intents("train", labels, 20, rng), intents("test", labels, 5, rng), [], note)
    held_out = rng.sample(intents("test", labels, 1, rng), 50)
    test = intents("test", labels, 2, rng)
    return Workload(intents("train", labels, 10, rng), held_out, test, "Banking77, all 77 intents in the prompt", 2)


def banking(part: str) -> list[tuple[str, str]]:
    with open(BANKING77 / f"banking77_{part}.csv", newline="", encoding="utf-8") as rows:
        return [(row["text"], row["category"]) for row in csv.DictReader(rows)]


def intents(part: str, labels: Sequence[str], each: int, rng: random.Random) -> list[Row]:
    """`each` rows of every label, shuffled."""
    system = f"Classify the banking customer's message into one intent. Intents: {', '.join(labels)}"
    known = banking(part)
    picked = [row for label in labels for row in rng.sample([r for r in known if r[1] == label], each)]
    rng.shuffle(picked)
    return [chat(system, text, label) for text, label in picked]


def snips(part: str, count: int, rng: random.Random) -> list[Row]:
    with open(SNIPS / f"snips_{part}.jsonl", encoding="utf-8") as lines:
        rows = rng.sample([json.loads(line) for line in lines], count)
    answers = [json.dumps({"intent": row["intent"], "slots": row["slots"]}, ensure_ascii=False) for row in rows]
    return [chat(None, row["text"], answer) for row, answer in zip(rows, answers, strict=True)]


def chat(system: str | None, user: str, assistant: str) -> Row:
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": [*first, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}
