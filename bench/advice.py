"""How good the offline advisor is: intent, decision, diagnosis and facts, against questions with known answers.

    make bench-advice                       the questions in bench/advice
    make bench-advice QUESTIONS=FOLDER      those of a folder with some of route, decide, debug, facts as .jsonl

Every question goes through the same session as the chat and `ask`, in one process; `cold` is a whole new process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.ask import ask_once
from tools.diagnose import DIAGNOSE

QUESTIONS = Path(__file__).parent / "advice"
NEED = {"route": 0.85, "decide": 0.80, "debug": 0.65, "debug, first three": 0.85, "facts": 0.85}
LENGTH = 1_200
"""characters of an answer that are searched for the key phrases"""


@dataclass(frozen=True)
class Asked:
    row: dict[str, Any]
    got: list[str]
    """labels, best first; for facts the key phrases that are missing"""
    right: bool
    seconds: float


def route(row: dict[str, Any]) -> tuple[list[str], bool]:
    intent = asyncio.run(ask_once(row["utterance"])).intent
    return [intent], intent in [row["intent"], *row.get("also", [])]


def decide(row: dict[str, Any]) -> tuple[list[str], bool]:
    decision = asyncio.run(ask_once(row["question"])).decision
    approach = str((decision or {}).get("approach"))
    return [approach], approach == row["gold"]


def debug(row: dict[str, Any]) -> tuple[list[str], bool]:
    found = DIAGNOSE.call(symptom=row["symptom"]).diagnoses
    classes = list(dict.fromkeys(each.cause_class for each in found)) or ["nothing"]
    return list(classes), classes[0] == row["cause_class"]


def facts(row: dict[str, Any]) -> tuple[list[str], bool]:
    answer = asyncio.run(ask_once(row["question"])).answer[:LENGTH].lower()
    missing = [key for key in row["must_contain"] if not any(each.lower() in answer for each in key.split("|"))]
    return missing, not missing


KINDS = {"route": (route, "intent"), "decide": (decide, "gold"), "debug": (debug, "cause_class"), "facts": (facts, "")}


def run(folder: Path, kind: str) -> list[Asked]:
    ask, _ = KINDS[kind]
    answers = []
    for line in (folder / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        started = time.perf_counter()
        got, right = ask(row)
        answers.append(Asked(row, got, right, time.perf_counter() - started))
    return answers


def report(kind: str, answers: list[Asked], misses: bool) -> dict[str, float]:
    shares = {kind: sum(each.right for each in answers) / len(answers)}
    gold = KINDS[kind][1]
    if kind == "debug":
        shares["debug, first three"] = sum(each.row[gold] in each.got[:3] for each in answers) / len(answers)
    for name, share in shares.items():
        print(f"{name:20} {share:.3f} of {len(answers)} (aim {NEED[name]:.2f})")
    for part in sorted({each.row["part"] for each in answers if "part" in each.row}):
        mine = [each for each in answers if each.row.get("part") == part]
        print(f"  {part:18} {sum(each.right for each in mine) / len(mine):.3f} of {len(mine)}")
    seconds = sorted(each.seconds for each in answers)
    print(f"{'seconds a question':20} {seconds[len(seconds) // 2]:.3f} median, {seconds[-1]:.3f} at most")
    if gold:
        per_class(answers, gold)
    for each in answers:
        if misses and not each.right:
            wanted = each.row[gold] if gold else each.row["must_contain"]
            print(f"  miss {each.row['id']}: wanted {wanted}, {'got' if gold else 'missing'} {each.got[:3]}")
    print()
    return shares


def per_class(answers: list[Asked], gold: str) -> None:
    total = Counter(each.row[gold] for each in answers)
    right = Counter(each.row[gold] for each in answers if each.right)
    said = Counter(each.got[0] for each in answers)
    print(f"  {'class':22}right  of  said")
    for name, count in total.most_common():
        print(f"  {name:22}{right[name]:5} {count:3} {said[name]:5}")


def cold(question: str) -> tuple[float, float]:
    """Seconds of `ask` in a new process, and of importing langchain.agents alone; the better of two each."""

    def best(command: list[str]) -> float:
        took = []
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took.append(time.perf_counter() - started)
        return min(took)

    ask = best([sys.executable, "-m", "agent", "ask", "--json", question])
    return ask, best([sys.executable, "-c", "import langchain.agents"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=QUESTIONS)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--quiet", action="store_true", help="no misses")
    args = parser.parse_args()
    kinds = [kind for kind in args.only or KINDS if (args.folder / f"{kind}.jsonl").exists()]
    if not kinds:
        print(f"No questions in {args.folder}: name a folder that has some, QUESTIONS=FOLDER.", file=sys.stderr)
        return 3
    shares: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["FINETUNE_HOME"] = home
        for kind in kinds:
            shares |= report(kind, run(args.folder, kind), not args.quiet)
        ask, langchain = cold("Which learning rate for LoRA?")
    print(f"cold answer {ask:.2f} s, langchain.agents alone {langchain:.2f} s: {ask / langchain:.2f} times (limit 1.6)")
    short = [name for name, share in shares.items() if share < NEED[name]]
    print(f"below the aim: {', '.join(short)}" if short else "every aim is reached")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
