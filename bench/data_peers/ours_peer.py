from __future__ import annotations

from pathlib import Path
from typing import Any

from common import arguments, report, texts


def checked_file(path: Path, judged: bool) -> dict[str, Any]:
    from executor.data.read import open_source
    from executor.data.shape import detect_source
    from executor.data.verdict import checked

    source = open_source(path)
    verdict = checked(source, detect_source(source), judges=None if judged else [])
    return {"rows": verdict.rows, "found": str(verdict.findings.codes())}


def near(found: list[str]) -> dict[str, Any]:
    from executor.data.near import NearDuplicates

    engine = NearDuplicates()
    for start in range(0, len(found), 4096):
        engine.add(found[start : start + 4096])
    seen: set[int] = set()
    # numbered by first member: the first of each cluster is the one that is kept
    flags = [number in seen or bool(seen.add(number)) for number in engine.clusters()]
    return {"rows": len(found), "flags": flags}


if __name__ == "__main__":
    task, path = arguments()
    if task.startswith("near"):
        loaded = texts(path)
        report(lambda: near(loaded))
    else:
        report(lambda: checked_file(path, judged=task == "whole"))
