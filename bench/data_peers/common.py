"""What every peer script shares: read the texts, time the work, print one JSON object."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def texts(path: Path) -> list[str]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line)["messages"][0]["content"] for line in lines]


def scored(flags: list[bool], path: Path) -> dict[str, Any]:
    """How many of the planted near-duplicates are among the flagged rows (all but the first of each set)."""
    planted = [n for n in json.loads(path.with_suffix(".planted").read_text()) if n < len(flags)]
    found = sum(flags[number] for number in planted)
    return {"planted": len(planted), "recall": found / len(planted), "flagged": sum(flags), "found": ""}


def report(work: Callable[[], dict[str, Any]]) -> None:
    """Times `work`, which gives `rows` and `found`."""
    start = time.perf_counter()
    result = work()
    result["seconds"] = time.perf_counter() - start
    if "flags" in result:
        result |= scored(result.pop("flags"), Path(sys.argv[2]))
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))


def arguments() -> tuple[str, Path]:
    return sys.argv[1], Path(sys.argv[2])
