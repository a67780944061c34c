"""Normalised texts as arrays of characters, and MinHash signatures of their 5-grams, computed by the batch in numpy.

MinHash: Broder 1997, "On the resemblance and containment of documents". The share of equal signature places estimates
the Jaccard similarity of the two gram sets; BANDS bands of ROWS places make the pairs worth looking at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRAM = 5
BANDS, ROWS = 9, 4
"""a pair of similarity 0.8 shares a band with probability 1 - (1 - 0.8**4)**9 = 0.991, one of 0.9 with 0.9999"""
PLACES = BANDS * ROWS
_EMPTY = np.uint32(0xFFFFFFFF)
_MULTIPLIERS = (np.random.default_rng(5).integers(1, 1 << 31, PLACES, dtype=np.uint32) << 1) | np.uint32(1)
_OFFSETS = np.random.default_rng(6).integers(0, 1 << 32, PLACES, dtype=np.uint32)
_POWERS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)

Codes = NDArray[Any]
"""characters one after another: uint8 for ASCII, uint32 otherwise"""
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """Normalised texts, one after another."""

    codes: Codes
    lengths: Ints
    """characters of each text"""


def _lookup() -> NDArray[np.uint8]:
    table = np.full(256, 32, np.uint8)
    for code in range(128):
        if chr(code).isalnum():
            table[code] = ord(chr(code).lower())
    return table


_LOOKUP = _lookup()
_SPACE = np.uint8(32)


def normalised_ascii(texts: Sequence[str]) -> Texts:
    """ASCII texts in lower case, letters and digits only, single spaces between; '' where there are none."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = _LOOKUP[np.frombuffer("".join(texts).encode("ascii"), np.uint8)]
    ends = np.cumsum(lengths)
    # a space stays where a letter follows it in the same text, and one stood before it
    followed = np.empty(len(codes), bool)
    followed[:-1] = codes[1:] != _SPACE
    followed[-1:] = False
    followed[ends[lengths > 0] - 1] = False
    kept = (codes != _SPACE) | followed
    codes, lengths = _compressed(codes, lengths, kept)
    starts = np.cumsum(lengths) - lengths
    filled = starts[lengths > 0]
    leading = filled[codes[filled] == _SPACE]
    if len(leading):
        kept = np.ones(len(codes), bool)
        kept[leading] = False
        codes, lengths = _compressed(codes, lengths, kept)
    return Texts(codes, lengths)


def _compressed(codes: Codes, lengths: Ints, kept: NDArray[np.bool_]) -> tuple[Codes, Ints]:
    counted = np.concatenate([[0], np.cumsum(kept)])
    ends = np.cumsum(lengths)
    return codes[kept], counted[ends] - counted[ends - lengths]


def wide(texts: Sequence[str]) -> Texts:
    """Texts that are normalised already, with characters of any kind."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return Texts(np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), lengths)


def grams(texts: Texts) -> tuple[NDArray[np.uint32], Ints]:
    """A hash of every gram of every text, and how many each text has (at least one: a short text is its own gram)."""
    codes, lengths = _padded(texts)
    counts = lengths - (GRAM - 1)
    if not len(lengths):
        return np.zeros(0, np.uint32), counts
    spread = codes.astype(np.uint32)
    size = len(spread) - (GRAM - 1)
    hashed = spread[:size] * _POWERS[0]
    for i in range(1, GRAM):
        # mixed before each step, so that the order of the characters counts
        hashed ^= hashed >> np.uint32(15)
        hashed += spread[i : size + i] * _POWERS[i]
        hashed *= _POWERS[0]
    hashed ^= hashed >> np.uint32(13)
    return hashed[_inside(lengths)[:size]], counts


def _padded(texts: Texts) -> tuple[Codes, Ints]:
    """Texts shorter than a gram, filled up with zeros."""
    short = texts.lengths < GRAM
    if not short.any():
        return texts.codes, texts.lengths
    lengths = np.maximum(texts.lengths, GRAM)
    codes = np.zeros(int(lengths.sum()), texts.codes.dtype)
    shift = np.repeat(np.cumsum(lengths) - lengths - (np.cumsum(texts.lengths) - texts.lengths), texts.lengths)
    codes[np.arange(len(texts.codes)) + shift] = texts.codes
    return codes, lengths


def signatures(texts: Texts, ignored: NDArray[np.uint32] | None = None) -> NDArray[np.uint32]:
    """(texts, PLACES) smallest value of each of PLACES hash functions over a text's grams, `ignored` ones left out.

    A text without any other gram has the largest value in all places.
    """
    hashed, counts = grams(texts)
    out = np.empty((PLACES, len(counts)), np.uint32)
    if not len(counts):
        return out.T
    starts = np.cumsum(counts) - counts
    left_out = np.isin(hashed, ignored) if ignored is not None and len(ignored) else None
    value = np.empty_like(hashed)
    for place in range(PLACES):
        np.multiply(hashed, _MULTIPLIERS[place], out=value)
        value += _OFFSETS[place]
        if left_out is not None:
            value[left_out] = _EMPTY
        np.minimum.reduceat(value, starts, out=out[place])
    return out.T


def is_empty(signature: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return (signature == _EMPTY).all(axis=1)  # type: ignore[no-any-return]


def bands(signature: NDArray[np.uint32], band: int) -> NDArray[np.uint32]:
    """One key for the ROWS places of a band of each text; 32 bits sort twice as fast as 64, and chance hits are few."""
    keys = np.zeros(len(signature), np.uint64)
    for place in range(band * ROWS, (band + 1) * ROWS):
        keys ^= signature[:, place]
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return (keys >> np.uint64(32)).astype(np.uint32)


def packed_grams(texts: Texts) -> tuple[NDArray[np.uint64], Ints]:
    """The grams of ASCII texts themselves, 40 bits each, and how many each text has."""
    codes, lengths = _padded(texts)
    counts = lengths - (GRAM - 1)
    if not len(lengths):
        return np.zeros(0, np.uint64), counts
    spread = codes.astype(np.uint64)
    size = len(spread) - (GRAM - 1)
    packed = spread[:size].copy()
    for i in range(1, GRAM):
        packed <<= np.uint64(8)
        packed |= spread[i : size + i]
    return packed[_inside(lengths)[:size]], counts


def _inside(lengths: Ints) -> NDArray[np.bool_]:
    """Which characters begin a gram of their own text."""
    inside = np.ones(int(lengths.sum()), bool)
    ends = np.cumsum(lengths)
    for i in range(1, GRAM):
        inside[ends - i] = False
    return inside
