"""What every training script shares: read the job, measure this process, print one JSON object."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any


def read_job() -> dict[str, Any]:
    """`model, train, held_out, out, steps, epochs, batch_size, learning_rate, warmup_steps, max_length, seed` and more.

    `bench/train.py` writes it; `train` and `held_out` are files of messages as JSON lines.
    """
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return job


def read_rows(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def peak_mib() -> int:
    """The most memory that this process was resident with; what its parent had does not count."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def report(**found: Any) -> None:
    print(json.dumps(found))
