"""The structure of chat rows in JSON lines, a million rows in about a second.

Nearly all rows of a real file are plain: roles and texts, nothing else. A typed decoder (msgspec, in C) checks those
while it decodes whole blocks of lines; any block it does not like, for whatever reason, takes the slow way that names
the fault. So the fast way may only ever say "well formed", and a test holds the two ways equal.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal, NamedTuple

import msgspec

_BLOCK = 1 << 18
"""bytes; larger blocks leave the processor's cache"""
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXT_LINE_END = re.compile(r"\r\n|\r|\n")


class Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message of plain text. One with any other key takes the slow way."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class PlainRow(msgspec.Struct, gc=False):
    """A chat row of plain texts. Other keys are not looked at; those that matter are named, and take the slow way."""

    messages: list[Turn]
    tools: None = None
    functions: None = None
    images: None = None
    videos: None = None
    audios: None = None


class Block(NamedTuple):
    """Some whole lines of a file."""

    first_line: int
    data: bytes
    rows: list[PlainRow] | None
    """the rows of the lines where all are plain and well formed, else None"""
    numbers: Callable[[], list[int]]
    """the line of each row"""


Accepts = Callable[[tuple[str, ...]], bool]
"""whether a sequence of roles is without fault for the target"""


def blocks(open_bytes: Callable[[], BinaryIO], accepts: Accepts) -> Iterator[Block]:
    """The whole file, block by block, in order."""
    known: dict[tuple[str, ...], bool] = {}
    decoder = msgspec.json.Decoder(PlainRow)
    line = 1
    for data in _line_blocks(open_bytes):
        rows = _plain_rows(decoder, data, accepts, known)
        yield Block(line, data, rows, lambda data=data, line=line: _numbers(data, line))  # type: ignore[misc]
        line += data.count(b"\n") if b"\r" not in data else len(_LINE_END.findall(data))


def _line_blocks(open_bytes: Callable[[], BinaryIO]) -> Iterator[bytes]:
    with open_bytes() as file:
        rest = file.read(3)
        rest = b"" if rest == _BOM else rest
        while data := file.read(_BLOCK):
            data = rest + data
            end = data.rfind(b"\n") + 1
            if not end:
                rest = data
                continue
            yield data[:end]
            rest = data[end:]
        if rest:
            yield rest


def _plain_rows(
    decoder: msgspec.json.Decoder[PlainRow], data: bytes, accepts: Accepts, known: dict[tuple[str, ...], bool]
) -> list[PlainRow] | None:
    try:
        rows = decoder.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for row in rows:
        turns = row.messages
        roles = tuple([turn.role for turn in turns])
        fine = known.get(roles)
        if fine is None:
            if len(known) > 100_000:
                known.clear()
            fine = known[roles] = accepts(roles)
        if not fine:
            return None
        for turn in turns:
            content = turn.content
            if not content or content.isspace():
                return None
    return rows


def _numbers(data: bytes, first_line: int) -> list[int]:
    lines = _LINE_END.split(data) if b"\r" in data else data.split(b"\n")
    return [first_line + i for i, line in enumerate(lines) if line.strip()]


def numbered(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    """(line of the file, text) of each line of a block that is not blank."""
    for i, line in enumerate(_TEXT_LINE_END.split(text)):
        if line.strip():
            yield first_line + i, line


@contextmanager
def without_collector() -> Iterator[None]:
    """Rows form no cycles, so Python's cycle collector finds nothing among millions of them, slowly."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
