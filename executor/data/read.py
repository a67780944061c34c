"""One file to a table of rows: which format, which encoding, and the line of the file each row came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.data import delimited, json_rows
from executor.data.encoding import Text, decode
from executor.data.problem import Problem
from executor.data.source import EmptyFileError
from executor.errors import UserError, nearest

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".psv")
_NOT_READ_YET = (
    (".xlsx .xls .xlsm .ods", "Excel files are not read yet", "Save the sheet as CSV (UTF-8) and use that file."),
    (".parquet .arrow .feather", "Parquet files are not read yet", "Export the table as CSV or JSON lines."),
    (".yaml .yml", "YAML files are not read yet", "Export the rows as JSON lines."),
    (".gz .zip .bz2 .xz .zst .7z .tar", "Compressed files are not read yet", "Unpack it and use the CSV inside."),
    (".pdf .doc .docx .rtf", "Documents are not training rows", "Save the rows as CSV: one column in, one column out."),
)
_MAGIC = (
    (b"PK\x03\x04", ".zip"),
    (b"\xd0\xcf\x11\xe0", ".xls"),
    (b"PAR1", ".parquet"),
    (b"ARROW1", ".arrow"),
    (b"\x1f\x8b", ".gz"),
    (b"BZh", ".bz2"),
    (b"\xfd7zXZ", ".xz"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
    (b"%PDF", ".pdf"),
)
_LOOSE_TABLE = 0.9
"""share of equally wide records that makes a file without a table's name a table"""


@dataclass(frozen=True)
class RawTable:
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


def read(path: Path) -> RawTable:
    """The rows of a CSV, TSV, JSON, JSON lines or text file.

    Raises UserError where there is nothing to read: missing, a folder, empty, binary, a format not read yet.
    """
    data = _bytes(path)
    suffix = path.suffix.lower()
    _refuse_other_formats(path, data, suffix)
    text = decode(data)
    if text is None:
        raise UserError(f"{path.name} is a binary file", str(path), "Give a CSV, TSV, JSON or JSON lines file.")
    if not text.content.strip():
        raise EmptyFileError(f"{path.name} is empty", str(path), "Give a file with a header line and rows.")
    return _table(path, suffix, text)


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"{path.name or path} is a folder", str(path), "Give one file inside it.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path.name} is not a regular file", str(path), "Save the data to a file first.")
        return path.read_bytes()
    except FileNotFoundError:
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) or "Check the path."
        raise UserError(f"There is no file {path.name}", str(path), hint) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise UserError(f"Cannot read {path.name}: {reason}", str(path), "Check the path and its rights.") from problem


def _refuse_other_formats(path: Path, data: bytes, suffix: str) -> None:
    magic = next((name for mark, name in _MAGIC if data.startswith(mark)), None)
    # an office document is a zip: its name tells which
    kind = suffix if magic == ".zip" and suffix in (".xlsx", ".xlsm", ".ods", ".docx") else magic or suffix
    for suffixes, what, fix in _NOT_READ_YET:
        if kind in suffixes.split():
            raise UserError(what, str(path), fix)


def _table(path: Path, suffix: str, text: Text) -> RawTable:
    content = text.content
    looks_json = content.lstrip()[:1] in ("{", "[")
    if suffix in _JSON_SUFFIXES or (looks_json and _is_json(content, suffix)):
        found = json_rows.parse(content, prefer_lines=suffix in (".jsonl", ".ndjson"))
        return _from_json(path, text, found)
    preferred = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(suffix, ",")
    sniffed = delimited.sniff(content, preferred)
    if suffix in _TABLE_SUFFIXES:
        return _from_delimited(path, text, sniffed[0] if sniffed else preferred)
    if sniffed and sniffed[1] >= _LOOSE_TABLE and len(list(json_rows.numbered_lines(content))) > 1:
        return _from_delimited(path, text, sniffed[0])
    return _from_text(path, text)


def _is_json(content: str, suffix: str) -> bool:
    """Whether a file without a JSON name holds JSON: some row of it is an object."""
    found = json_rows.parse(content, prefer_lines=False)
    readable = len(found.rows) - len(found.broken)
    return readable > len(found.broken) or (readable > 0 and suffix not in _TABLE_SUFFIXES)


def _from_json(path: Path, text: Text, found: json_rows.JsonRows) -> RawTable:
    columns = list(dict.fromkeys(str(key) for row in found.rows for key in row))
    problems = [*text.problems, *found.broken.values()]
    if not found.rows:
        raise EmptyFileError(f"{path.name} holds no rows", str(path), "Give a file with at least one row.")
    return RawTable(
        path, found.format, text.encoding, None, None, columns, found.rows, found.lines, problems, found.broken
    )


def _from_delimited(path: Path, text: Text, delimiter: str) -> RawTable:
    found = delimited.parse(text.content, delimiter)
    if not found.rows:
        raise EmptyFileError(f"{path.name} has a header line but no rows", str(path), "Add rows below the header.")
    problems = [*text.problems, *found.problems]
    return RawTable(
        path, "csv", text.encoding, delimiter, None, found.columns, found.rows, found.lines, problems, found.broken
    )


def _from_text(path: Path, text: Text) -> RawTable:
    numbered = list(json_rows.numbered_lines(text.content))
    rows: list[dict[str, Any]] = [{"text": line} for _, line in numbered]
    lines = [number for number, _ in numbered]
    return RawTable(path, "text", text.encoding, None, None, ["text"], rows, lines, list(text.problems))
