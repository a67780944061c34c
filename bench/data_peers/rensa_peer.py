"""rensa as its README shows it for deduplication: R-MinHash over words, LSH at the threshold, 128 permutations."""

from __future__ import annotations

from typing import Any

from common import arguments, report, texts
from rensa import RMinHash, RMinHashLSH


def deduplicate(found: list[str], permutations: int = 128, bands: int = 32) -> dict[str, Any]:
    index = RMinHashLSH(threshold=0.8, num_perm=permutations, num_bands=bands)
    dropped = 0
    for number, text in enumerate(found):
        signature = RMinHash(num_perm=permutations, seed=42)
        signature.update(text.lower().split())
        if any(True for other in index.query(signature) if other != number):
            dropped += 1
        index.insert(number, signature)
    return {"rows": len(found), "found": "", "dropped": dropped}


if __name__ == "__main__":
    _, path = arguments()
    loaded = texts(path)
    report(lambda: deduplicate(loaded))
