"""semhash with its default model (potion-base-8M), which comes from a hub: left out where there is none."""

from __future__ import annotations

from typing import Any

from common import arguments, report, texts
from semhash import SemHash


def deduplicate(found: list[str]) -> dict[str, Any]:
    result = SemHash.from_records(records=found).self_deduplicate()
    kept = set(result.selected)
    return {"rows": len(found), "flags": [text not in kept for text in found]}


if __name__ == "__main__":
    _, path = arguments()
    loaded = texts(path)
    report(lambda: deduplicate(loaded))
