"""One file to rows: which format, which encoding, and the line of the file each row came from."""

from __future__ import annotations

import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from executor.data import delimited, hub, json_rows
from executor.data.encoding import Encoding, find_encoding
from executor.data.problem import Problem
from executor.data.source import EmptyFileError, Fingerprint, Record, Source
from executor.errors import UserError, nearest

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".psv")
_EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_PARQUET = (".parquet", ".arrow", ".feather")
_NOT_READ = (
    (".zip .bz2 .xz .zst .7z .tar", "Archives are not read, only .gz", "Unpack it and use the file inside."),
    (".pdf .doc .docx .rtf", "Documents are not training rows", "Save the rows as CSV: one column in, one column out."),
)
_MAGIC = (
    (b"PK\x03\x04", ".zip"),
    (b"\xd0\xcf\x11\xe0", ".xls"),
    (b"PAR1", ".parquet"),
    (b"ARROW1", ".arrow"),
    (b"BZh", ".bz2"),
    (b"\xfd7zXZ", ".xz"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
    (b"%PDF", ".pdf"),
)
_GZIP = b"\x1f\x8b"
_LOOSE_TABLE = 0.9
"""share of equally wide records that makes a file without a table's name a table"""
_SAMPLE = 5000
"""rows looked at for the names of columns"""
_MOST_YAML = 1 << 28
"""bytes; YAML is read as a whole"""


@dataclass(frozen=True)
class RawTable:
    """All rows of a file, in memory."""

    path: Path
    format: str
    """of the contract's closed set"""
    encoding: str | None
    """Python's codec name; None for binary formats"""
    delimiter: str | None
    sheets: list[str] | None
    columns: list[str]
    rows: list[dict[str, Any]]
    lines: list[int]
    """1-based line of the file on which each row starts"""
    problems: list[Problem]
    broken: dict[int, Problem] = field(default_factory=dict)
    """rows (by index) that could not be read as they should; each is also among the problems"""


def read(path: Path, sheet: str | None = None) -> RawTable:
    """Every row of a file, in memory. Raises UserError as `open_source` does."""
    source = open_source(path, sheet)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    problems = list(source.problems)
    broken: dict[int, Problem] = {}
    columns: dict[str, None] = dict.fromkeys(source.columns)
    for line, row, problem in source.records():
        if problem is not None:
            problems.append(problem)
        if row is None:
            continue
        if problem is not None:
            broken[len(rows)] = problem
        columns.update(dict.fromkeys(map(str, row)))
        rows.append(row)
        lines.append(line)
    return RawTable(
        source.path,
        source.format,
        source.encoding,
        source.delimiter,
        source.sheets,
        list(columns),
        rows,
        lines,
        problems,
        broken,
    )


def open_source(path: Path, sheet: str | None = None) -> Source:
    """A data file as a stream of rows; `sheet` names one of a workbook. `hf:org/name[:split]` is fetched first.

    Raises UserError where there is nothing to read: missing, a folder, empty (EmptyFileError), binary, an archive.
    """
    path = hub.fetched(path) if hub.is_hub(path) else path
    fingerprint = _fingerprint(path)
    if fingerprint.size == 0:
        raise EmptyFileError(f"{path.name} is empty", str(path), "Give a file with a header line and rows.")
    kind = _kind(path)
    source = _binary_source(path, kind, sheet) or _text_source(path)
    first = next(iter(source.read()), None)
    if first is None:
        what = "has a header line but no rows" if source.format == "csv" else "holds no rows"
        raise EmptyFileError(f"{path.name} {what}", str(path), "Give a file with at least one row.")
    return Source(**{**vars(source), "fingerprint": fingerprint})


def _fingerprint(path: Path) -> Fingerprint:
    try:
        if path.is_dir():
            raise UserError(f"{path.name or path} is a folder", str(path), "Give one file inside it.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path.name} is not a regular file", str(path), "Save the data to a file first.")
        with open(path, "rb"):
            return Fingerprint.of(path)
    except FileNotFoundError:
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) or "Check the path."
        raise UserError(f"There is no file {path.name}", str(path), hint) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(f"Cannot read {path.name}: {reason}", str(path), "Check the path and its rights.") from problem


def _kind(path: Path) -> str:
    """The suffix that says how to read the file; its first bytes are trusted more than its name."""
    suffix = path.suffix.lower()
    with open_bytes(path) as data:
        head = data.read(16)
    magic = next((name for mark, name in _MAGIC if head.startswith(mark)), None)
    # an office document is a zip: its name tells which
    kind = suffix if magic == ".zip" and suffix in (*_EXCEL, ".docx") else magic or suffix
    for suffixes, what, fix in _NOT_READ:
        if kind in suffixes.split():
            raise UserError(what, str(path), fix)
    return kind


def _binary_source(path: Path, kind: str, sheet: str | None) -> Source | None:
    if kind in _EXCEL:
        from executor.data.excel import open_excel

        return open_excel(path, sheet)
    if kind in _PARQUET:
        from executor.data.parquet import open_parquet

        return open_parquet(path)
    return None


class _Unpacked(gzip.GzipFile):
    """A compressed file whose damage is an error of the user's file, in one line."""

    def read(self, size: int | None = -1) -> bytes:
        with self._plainly():
            return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        with self._plainly():
            return super().read1(size)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            name = str(self.name)
            raise UserError(
                f"{Path(name).name} is a damaged .gz file: {problem}", name, "Compress it again."
            ) from problem


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where it is a .gz."""
    with open(path, "rb") as data:
        packed = data.read(2) == _GZIP
    return cast(BinaryIO, _Unpacked(path, "rb") if packed else open(path, "rb"))


@dataclass(frozen=True)
class _TextFile:
    """A text file in a known encoding."""

    path: Path
    suffix: str
    """of the file itself, not of its compression"""
    encoding: Encoding

    def open(self) -> TextIO:
        data = open_bytes(self.path)
        # line ends are kept as they are: csv and the line numbers need them
        return io.TextIOWrapper(data, encoding=self.encoding.codec, errors=self.encoding.errors, newline="")


def _text_source(path: Path) -> Source:
    encoding = find_encoding(lambda: open_bytes(path))
    if encoding is None:
        raise UserError(f"{path.name} is a binary file", str(path), "Give a CSV, TSV, JSON or JSON lines file.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    text = _TextFile(path, suffix, encoding)
    first = _first_character(text)
    if not first:
        raise EmptyFileError(f"{path.name} is empty", str(path), "Give a file with a header line and rows.")
    if suffix in (".yaml", ".yml"):
        return _yaml(text)
    if suffix in _JSON_SUFFIXES or (first in "{[" and _is_json(text)):
        return _json(text)
    preferred = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(suffix, ",")
    sniffed = delimited.sniff(text.open, preferred)
    if suffix in _TABLE_SUFFIXES:
        return _delimited(text, sniffed[0] if sniffed else preferred)
    if sniffed and sniffed[1] >= _LOOSE_TABLE and len(_head(text, 2)) > 1:
        return _delimited(text, sniffed[0])
    return _plain(text)


def _first_character(text: _TextFile) -> str:
    with text.open() as lines:
        while block := lines.read(1 << 16):
            if stripped := block.strip():
                return stripped[0]
    return ""


def _head(text: _TextFile, most: int) -> list[tuple[int, str]]:
    with text.open() as lines:
        return list(itertools.islice(json_rows.numbered_lines(lines), most))


def _is_json(text: _TextFile) -> bool:
    """Whether a file without a JSON name holds JSON: most rows of it are objects, or any outside of tables."""
    sample = list(itertools.islice(_json(text).read(), _SAMPLE))
    broken = sum(1 for record in sample if record.problem is not None)
    readable = len(sample) - broken
    return readable > broken or (readable > 0 and text.suffix not in _TABLE_SUFFIXES)


def _json(text: _TextFile) -> Source:
    as_lines = json_rows.is_json_lines(text.open, prefer_lines=text.suffix in (".jsonl", ".ndjson"))
    reader = json_rows.lines_of if as_lines else json_rows.values_of

    def rows() -> Iterator[Record]:
        return reader(text.open)

    sample = list(itertools.islice(rows(), _SAMPLE))
    columns = list(dict.fromkeys(str(key) for record in sample for key in record.row or {}))
    file_format = "jsonl" if as_lines or json_rows.is_concatenated(text.open) else "json"
    shared = any(one.line >= two.line for one, two in itertools.pairwise(sample))
    read_rows = (lambda: _numbered(rows())) if shared else rows
    problems = list(text.encoding.problems)
    return Source(text.path, file_format, text.encoding.codec, None, None, columns, problems, read_rows)


def _numbered(records: Iterator[Record]) -> Iterator[Record]:
    """Rows that share a line of the file are told apart by their number instead."""
    for number, (_, row, problem) in enumerate(records, 1):
        yield Record(number, row, problem.model_copy(update={"line": number}) if problem else None)


def _delimited(text: _TextFile, delimiter: str) -> Source:
    found = delimited.look(text.open, delimiter)
    if found is None:
        raise EmptyFileError(f"{text.path.name} is empty", str(text.path), "Give a file with a header line and rows.")

    def rows() -> Iterator[Record]:
        return delimited.records(text.open, found)

    problems = [*text.encoding.problems, *found.problems]
    return Source(text.path, "csv", text.encoding.codec, delimiter, None, found.header.names, problems, rows)


def _plain(text: _TextFile) -> Source:
    def rows() -> Iterator[Record]:
        with text.open() as lines:
            for number, line in json_rows.numbered_lines(lines):
                yield Record(number, {"text": line.rstrip("\r\n")})

    problems = list(text.encoding.problems)
    return Source(text.path, "text", text.encoding.codec, None, None, ["text"], problems, rows)


def _yaml(text: _TextFile) -> Source:
    from executor.data.yaml_rows import open_yaml

    with text.open() as content:
        whole = content.read(_MOST_YAML + 1)
    if len(whole) > _MOST_YAML:
        raise UserError(f"{text.path.name} is too large for YAML", str(text.path), "Save the rows as JSON lines.")
    source = open_yaml(text.path, whole)
    return Source(
        **{
            **vars(source),
            "encoding": text.encoding.codec,
            "problems": [*text.encoding.problems, *source.problems],
        }
    )
