"""`make bench-data`: the data room beside public alternatives, on the same rows in the same run.

Each system runs alone in a process of its own, peers in virtual environments under `.bench/`; a peer that cannot be
installed is named. Figures differ from day to day: only the ratios of one run mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from peers import RESULTS, ROOT, python_of

SCRIPTS = Path(__file__).resolve().parent / "data_peers"
INSTALLED = {
    "together": ["together==2.19.0"],
    "rensa": ["rensa==0.5.0"],
    "datasketch": ["datasketch==2.0.0"],
    "semhash": ["semhash==0.5.0"],
}
"""what each peer's environment holds; `ours` and `datasets` run in our own"""
VOCABULARY = """
account address again alert amount app arrive bank bill block branch button card cash change charge check close
code confirm copy country credit currency date debit decline delay delete deliver deposit details device double
email error exchange expire fee find freeze fund help identity invoice issue late limit link lock lose machine
match missing mobile money month name number offer online open order page parcel passcode pay payment pending phone
pin post price problem proof rate receive reference refund reject replace reset return salary save screen send
service sign statement status steal stop store swap today top trace transfer travel understand unlock update verify
virtual wait wallet week withdraw work wrong yesterday
"""
WORDS = VOCABULARY.split()
STARTS = [
    "How do I",
    "Why did you",
    "Can I",
    "I want to",
    "Please",
    "When will you",
    "What happens if I",
    "Is it right to",
]
LABELS = ["card_arrival", "refund", "top_up", "transfer_fee", "lost_card", "exchange_rate", "identity", "cash"]


def question(rng: random.Random) -> str:
    return " ".join([rng.choice(STARTS), *rng.choices(WORDS, k=rng.randint(5, 10))])


def rows(n: int, seed: int = 1) -> Iterator[tuple[str, str, int | None]]:
    """(question, label, number of the row it nearly repeats or None): one row in twenty differs by a typing error."""
    rng = random.Random(seed)
    kept: list[tuple[str, str]] = []
    for number in range(n):
        if kept and rng.random() < 0.05:
            source = rng.randrange(len(kept))
            text, label = kept[source]
            place = rng.randrange(len(text))
            yield text[:place] + rng.choice("aeiou") + text[place:], label, source
            kept.append((text, label))
            continue
        kept.append((question(rng), rng.choice(LABELS)))
        yield *kept[-1], None
        assert len(kept) == number + 1


def write(path: Path, n: int) -> int:
    """Chat rows as JSON lines, and beside them the planted rows that are near-duplicates by definition; how many."""
    planted = []
    texts = []
    with open(path, "w", encoding="utf-8") as out:
        for number, (text, label, source) in enumerate(rows(n)):
            texts.append(text)
            if source is not None and jaccard(text, texts[source]) >= 0.8:
                planted.append(number)
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
            out.write(json.dumps({"messages": turns}) + "\n")
    path.with_suffix(".planted").write_text(json.dumps(planted), encoding="utf-8")
    return len(planted)


def jaccard(one: str, two: str) -> float:
    """Of the sets of character 5-grams, in lower case."""
    sets = [{text.lower()[i : i + 5] for i in range(len(text) - 4)} for text in (one, two)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def measured(peer: str, task: str, data: Path, repeats: int) -> dict[str, Any] | None:
    """The best of some runs: `rows_per_second, peak_mib, found`; each run is a fresh process."""
    python = python_of(peer, INSTALLED)
    if python is None:
        return None
    best: dict[str, Any] | None = None
    for _ in range(repeats):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        program = [python, str(SCRIPTS / f"{peer}_peer.py"), task, str(data)]
        run = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
        if run.returncode != 0:
            print(f"left out: {peer} {task} failed: {run.stderr.strip().splitlines()[-1:]}")
            return None
        result = json.loads(run.stdout.strip().splitlines()[-1])
        result["rows_per_second"] = result["rows"] / result["seconds"]
        if best is None or result["rows_per_second"] > best["rows_per_second"]:
            best = result
    return best


TASKS = {
    "structure": ["ours", "together", "datasets"],
    "near": ["ours", "rensa", "datasketch", "semhash"],
    "near_recall": ["ours", "rensa"],
    "whole": ["ours", "datasets"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--only", choices=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    record: dict[str, Any] = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "rows": options.rows,
        "results": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.jsonl"
        planted = write(data, options.rows)
        size = data.stat().st_size / options.rows
        print(
            f"{options.rows} rows of {size:.0f} bytes, {planted} planted near-duplicates, best of {options.repeats}\n"
        )
        print("| task | system | rows/s | ours is | peak MiB | found |\n|---|---|---:|---:|---:|---|")
        for task, peers in TASKS.items():
            if options.only in (None, task):
                record["results"][task] = compare(task, peers, data, planted, options.repeats)
    target = RESULTS / f"data-{record['date']}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def compare(task: str, peers: list[str], data: Path, planted: int, repeats: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for peer in peers:
        found = measured(peer, task, data, repeats)
        if found is None:
            continue
        results[peer] = found
        ratio = results["ours"]["rows_per_second"] / found["rows_per_second"] if "ours" in results else float("nan")
        text = found["found"]
        if task.startswith("near"):
            text = f"{found['recall']:.3f} of {found['planted']} planted; {found['flagged']} rows flagged"
        print(
            f"| {task} | {peer} | {found['rows_per_second']:,.0f} | {ratio:.2f} x | {found['peak_mib']} | {text} |",
            flush=True,
        )
    return results


if __name__ == "__main__":
    sys.exit(main())
