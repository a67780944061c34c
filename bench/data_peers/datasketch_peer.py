"""datasketch's MinHashLSH at its defaults (128 permutations) over words, texts inserted one by one."""

from __future__ import annotations

from typing import Any

from common import arguments, report, texts
from datasketch import MinHash, MinHashLSH

MOST = 20_000
"""rows; it is some hundred times slower, and its speed does not depend on the number"""


def deduplicate(found: list[str]) -> dict[str, Any]:
    index = MinHashLSH(threshold=0.8, num_perm=128)
    flags = []
    for number, text in enumerate(found):
        signature = MinHash(num_perm=128)
        signature.update_batch([word.encode() for word in text.lower().split()])
        flags.append(bool(index.query(signature)))
        index.insert(number, signature)
    return {"rows": len(found), "flags": flags}


if __name__ == "__main__":
    _, path = arguments()
    loaded = texts(path)[:MOST]
    report(lambda: deduplicate(loaded))
