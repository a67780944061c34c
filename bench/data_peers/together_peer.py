from __future__ import annotations

from pathlib import Path
from typing import Any

from common import arguments, report


def check(path: Path) -> dict[str, Any]:
    try:
        from together.lib.utils.files import check_file
    except ImportError:
        from together.utils.files import check_file
    answer = check_file(path)
    if not answer["is_check_passed"]:
        raise SystemExit(str(answer))
    return {"rows": answer["num_samples"], "found": "passed"}


if __name__ == "__main__":
    _, data = arguments()
    report(lambda: check(data))
