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
    clusters = engine.clusters()
    return {"rows": len(found), "found": "", "dropped": len(found) - (max(clusters) + 1)}


if __name__ == "__main__":
    task, path = arguments()
    if task == "near":
        loaded = texts(path)
        report(lambda: near(loaded))
    else:
        report(lambda: checked_file(path, judged=task == "whole"))
