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


def report(work: Callable[[], dict[str, Any]]) -> None:
    """Times `work`, which gives `rows` and `found`."""
    start = time.perf_counter()
    result = work()
    result["seconds"] = time.perf_counter() - start
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))


def arguments() -> tuple[str, Path]:
    return sys.argv[1], Path(sys.argv[2])
