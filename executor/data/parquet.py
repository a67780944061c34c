"""Parquet and Arrow files as rows, a batch at a time (pyarrow)."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import feather, ipc, parquet

from executor.data.problem import Problem, warning
from executor.data.source import EmptyFileError, Record, Source
from executor.errors import UserError

_BATCH = 1024
"""rows held at a time"""
_MAGIC = b"PAR1"


def open_parquet(path: Path) -> Source:
    """The rows of a Parquet, Arrow stream or Feather file; the line of a record is its row.

    Raises UserError where the file is damaged and EmptyFileError where it has no rows.
    """
    with open(path, "rb") as file:
        opened = _parquet_batches if file.read(4) == _MAGIC else _arrow_batches
    schema = _plainly(path, lambda: _schema(path, opened))
    problems: list[Problem] = []
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            message = f'the column "{field.name}" holds bytes, which were written as base64 text'
            problems.append(warning("binary_column", message, "Leave the column out.", field=field.name))

    def rows() -> Iterator[Record]:
        line = 0
        batches = opened(path)
        while (batch := _plainly(path, lambda: next(batches, None))) is not None:
            for row in _plainly(path, batch.to_pylist):
                line += 1
                yield Record(line, {name: plain(value) for name, value in row.items()})

    if next(rows(), None) is None:
        raise EmptyFileError(f"{path.name} holds no rows", str(path), "Give a file with at least one row.")
    return Source(path, "parquet", None, None, None, list(schema.names), problems, rows)


def _schema(path: Path, opened: Callable[[Path], Iterator[Any]]) -> Any:
    if opened is _parquet_batches:
        return parquet.ParquetFile(path).schema_arrow
    return next(iter(opened(path))).schema


def _parquet_batches(path: Path) -> Iterator[Any]:
    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_BATCH)


def _arrow_batches(path: Path) -> Iterator[Any]:
    try:
        with pa.OSFile(str(path), "rb") as file, ipc.open_file(file) as reader:
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
            return
    except pa.ArrowInvalid:
        pass
    try:
        with pa.OSFile(str(path), "rb") as file, ipc.open_stream(file) as reader:
            yield from reader
            return
    except pa.ArrowInvalid:
        yield from feather.read_table(path).to_batches(max_chunksize=_BATCH)


def _plainly(path: Path, work: Callable[[], Any]) -> Any:
    """The result of `work`; whatever the library says about a damaged file becomes one line for the user."""
    try:
        return work()
    except (pa.ArrowException, OSError, ValueError, StopIteration, NotImplementedError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(
            f"{path.name} is not a readable Parquet or Arrow file: {reason}", str(path), "Write the table again."
        ) from problem


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
