"""rensa's bulk way: R-MinHash over words, 128 permutations, and LSH; `bands` as its own benchmark (8) or for recall."""

from __future__ import annotations

from typing import Any

from common import arguments, report, texts
from rensa import RMinHash, RMinHashLSH

SETTINGS = {"near": ("words", 8), "near_recall": ("grams", 16)}
"""as its own benchmark sets it; and over character 5-grams with more bands, which finds what we look for"""


def tokens(text: str, unit: str) -> list[str]:
    text = text.lower()
    return text.split() if unit == "words" else [text[i : i + 5] for i in range(max(1, len(text) - 4))]


def deduplicate(found: list[str], unit: str, bands: int, permutations: int = 128) -> dict[str, Any]:
    index = RMinHashLSH(threshold=0.8, num_perm=permutations, num_bands=bands)
    matrix = RMinHash.digest_matrix_from_token_sets([tokens(text, unit) for text in found], permutations, 42)
    return {"rows": len(found), "flags": list(index.query_duplicate_flags_matrix_one_shot(matrix))}


if __name__ == "__main__":
    task, path = arguments()
    loaded = texts(path)
    report(lambda: deduplicate(loaded, *SETTINGS[task]))
