"""Documents to look things up in: text files, or a table of them, cut into passages of a paragraph or a few."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from executor.data.read import read
from executor.errors import UserError

SUFFIXES = (".txt", ".md", ".markdown", ".rst")
WORDS = 120
"""words of a passage; a longer paragraph is cut after a sentence"""
LONGEST = 24
"""letters of a word; a longer one counts as several"""
MOST = 200_000
ENDS = (".", "!", "?", "。", "！", "？", '"', "”", ")")
"""with which a paragraph is whole; a heading or an item of a list belongs to what follows"""
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]")
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


def read_passages(path: Path) -> list[dict[str, Any]]:
    """`{"text", "source"}` of each passage, in order; equal ones once.

    `path` is a text file, a folder of text files, or a table (JSON lines, CSV, ...) whose rows are passages each.
    Raises UserError where nothing can be read.
    """
    if not path.exists():
        raise UserError("No such documents", str(path), "Name a text file, a table of texts, or a folder of them.")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        for text in passages_of(file):
            found.setdefault(text, {"text": text, "source": file.name})
    if not found:
        fix = f"Put text into it: files that end in {', '.join(SUFFIXES)}, or a table."
        raise UserError("There is no text in the documents", str(path), fix)
    if len(found) > MOST:
        raise UserError(f"{len(found):,} passages are more than {MOST:,}", str(path), "Name fewer documents.")
    return list(found.values())


def passages_of(file: Path) -> list[str]:
    if file.suffix.lower() not in SUFFIXES:
        return [text for row in read(file).rows if (text := row_text(row))]
    try:
        return passages(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UserError(f"Cannot read the document: {error}", str(file), "Check the file.") from error


def row_text(row: dict[str, Any]) -> str:
    """A row of a table as a passage: its one text, or each column with its name."""
    cells = {key: " ".join(str(value).split()) for key, value in row.items() if value not in (None, "")}
    return next(iter(cells.values())) if len(cells) == 1 else "; ".join(f"{key}: {cell}" for key, cell in cells.items())


def passages(text: str) -> list[str]:
    """The paragraphs of a text, headings and items joined with what follows, long ones cut: WORDS words at most."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        for part in _parts(" ".join(paragraph.split())):
            if found and not found[-1].endswith(ENDS) and length(found[-1]) + length(part) <= WORDS // 2:
                found[-1] += "\n" + part
            else:
                found.append(part)
    return found


def _parts(paragraph: str) -> list[str]:
    if length(paragraph) <= WORDS:
        return [paragraph] if paragraph else []
    parts = [""]
    for sentence in _SENTENCE.split(paragraph):
        for piece in _pieces(sentence):
            if parts[-1] and length(parts[-1]) + length(piece) > WORDS:
                parts.append("")
            parts[-1] = f"{parts[-1]} {piece}".strip()
    return parts


def length(text: str) -> int:
    """Words of a text; in scripts without spaces two letters count as one."""
    return sum(1 + len(word) // LONGEST for word in text.split()) + len(_UNSPACED.findall(text)) // 2


def _pieces(sentence: str) -> list[str]:
    """The sentence, or where it alone is longer than a passage, as much of it as one holds at a time."""
    if length(sentence) <= WORDS:
        return [sentence]
    size = 2 * WORDS - LONGEST
    words = [word[i : i + size] for word in sentence.split() for i in range(0, len(word), size)]
    pieces = [""]
    for word in words:
        if pieces[-1] and length(f"{pieces[-1]} {word}") > WORDS:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces
