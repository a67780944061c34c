"""The nearest of many texts, by the cosine of character 3-grams weighted by how rare they are (TF-IDF)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

_GRAM = 3
_BUCKETS = 1 << 18
"""columns that grams are hashed to"""
_LONGEST = 300
"""characters of a text that are compared"""


def nearest(among: Sequence[str], texts: Sequence[str], itself: bool) -> npt.NDArray[np.float64]:
    """For each text the cosine (0 to 1) of the nearest of `among`.

    `itself`: the texts are the first of `among`, and the nearest other one is meant.
    """
    base, asked = _counts(among), _counts(texts)
    rows = np.bincount(base.indices, minlength=_BUCKETS)
    weights = np.log((1 + len(among)) / (1 + rows)) + 1  # smoothed inverse document frequency
    likeness = (_unit(asked, weights) @ _unit(base, weights).T).toarray()
    if itself:
        likeness[np.arange(len(texts)), np.arange(len(texts))] = 0.0
    best: npt.NDArray[np.float64] = likeness.max(axis=1) if likeness.size else np.zeros(len(texts))
    return best


def _counts(texts: Sequence[str]) -> Any:
    """Rows of gram counts as a sparse matrix."""
    columns: list[int] = []
    ends = [0]
    for text in texts:
        plain = f" {' '.join(text[:_LONGEST].casefold().split())} "
        grams = {plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1))}
        # crc32, because Python's own hash of texts changes from run to run
        columns += sorted({zlib.crc32(gram.encode("utf-8", "surrogatepass")) % _BUCKETS for gram in grams})
        ends.append(len(columns))
    return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(texts), _BUCKETS))


def _unit(counts: Any, weights: npt.NDArray[np.float64]) -> Any:
    """Weighted rows of length one."""
    matrix = counts.multiply(weights).tocsr()
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.diags(1 / np.maximum(lengths, np.finfo(float).tiny)) @ matrix
