"""Texts on disk, in a temporary file without a name: written by the batch, read back by the block or one by one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executor.data.minhash import Ints, Texts
from executor.errors import UserError


@dataclass(frozen=True)
class Segment:
    """Texts of one batch, all of one width."""

    places: Ints
    """number of each text"""
    lengths: Ints
    offset: int
    wide: bool
    """4 bytes a character, else 1 (ASCII)"""


class Spool:
    """About 17 bytes a text are kept in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="finetune-")  # noqa: SIM115 (closed with the object)
        self._size = 0
        self.segments: list[Segment] = []
        self._lengths = self._offsets = np.zeros(0, np.int64)
        self._wide = np.zeros(0, bool)

    def append(self, places: Ints, texts: Texts) -> bytes:
        """Keep texts under their numbers; gives their bytes. Raises UserError where the temporary folder is full."""
        data = texts.codes.tobytes()
        try:
            self._file.write(data)
        except OSError as problem:
            what = f"Cannot keep the texts in the temporary folder: {problem.strerror}"
            raise UserError(what, tempfile.gettempdir(), "Free some disk space there.") from problem
        self.segments.append(Segment(places, texts.lengths, self._size, texts.codes.itemsize == 4))
        self._size += len(data)
        return data

    def finish(self, count: int) -> None:
        """Make the texts readable by their number; `count` of them were kept."""
        self._file.flush()
        self._lengths, self._offsets = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._wide = np.zeros(count, bool)
        for part in self.segments:
            width = 4 if part.wide else 1
            self._lengths[part.places] = part.lengths
            self._offsets[part.places] = part.offset + (np.cumsum(part.lengths) - part.lengths) * width
            self._wide[part.places] = part.wide

    def block(self, part: Segment) -> Texts:
        """The texts of a segment."""
        kind = np.dtype(np.uint32 if part.wide else np.uint8)
        data = os.pread(self._file.fileno(), int(part.lengths.sum()) * kind.itemsize, part.offset)
        return Texts(np.frombuffer(data, kind), part.lengths)

    def text(self, place: int) -> str:
        return self._bytes(place).decode("utf-32-le" if self._wide[place] else "ascii")

    def plain(self, places: Ints) -> Texts:
        """Several ASCII texts."""
        data = b"".join(map(self._bytes, places.tolist()))
        return Texts(np.frombuffer(data, np.uint8), self._lengths[places])

    def lengths(self, places: Ints) -> Ints:
        """In characters."""
        return self._lengths[places]

    def is_wide(self, places: Ints) -> NDArray[np.bool_]:
        return self._wide[places]

    def chunks(self, left: Ints, right: Ints, most: int) -> Iterator[slice]:
        """Slices of pairs whose texts have about `most` characters together."""
        sizes = np.cumsum(self._lengths[left] + self._lengths[right])
        start = 0
        while start < len(left):
            before = sizes[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(sizes, before + most)))
            yield slice(start, end)
            start = end

    def _bytes(self, place: int) -> bytes:
        width = 4 if self._wide[place] else 1
        return os.pread(self._file.fileno(), int(self._lengths[place]) * width, int(self._offsets[place]))
