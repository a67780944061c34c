from __future__ import annotations

from typing import Any

from common import arguments, report, texts
from semhash import SemHash


def deduplicate(found: list[str]) -> dict[str, Any]:
    result = SemHash.from_records(records=found).self_deduplicate()
    return {"rows": len(found), "found": "", "dropped": len(found) - len(result.selected)}


if __name__ == "__main__":
    _, path = arguments()
    loaded = texts(path)
    report(lambda: deduplicate(loaded))
