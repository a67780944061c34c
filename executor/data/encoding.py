"""Which encoding a file is in: byte order marks, UTF-8, UTF-16 without a mark, then a stated guess.

The file is read once in blocks, so memory does not grow with it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from executor.data.problem import Problem, error, warning

BLOCK = 1 << 20
"""bytes read at a time"""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65536
_SAVE_AS_UTF8 = "Save the file as UTF-8."
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNDEFINED_IN_CP1252 = (b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d")

Open = Callable[[], BinaryIO]


@dataclass(frozen=True)
class Encoding:
    codec: str
    """Python's name"""
    errors: str = "strict"
    """how to decode: "replace" where some bytes are known to be broken"""
    problems: list[Problem] = field(default_factory=list)


def find_encoding(opened: Open) -> Encoding | None:
    """The encoding of the bytes that `opened()` gives, or None where they are binary (they hold NUL characters)."""
    with opened() as data:
        head = data.read(_SAMPLE)
    codec = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
    if codec is None and b"\0" in head:
        codec = _utf16_without_mark(head)
        return _whole(opened, codec) if codec else None
    if codec is not None:
        return _whole(opened, codec) or _replacing(opened, codec)
    if _holds_nul(opened):
        return None
    return _whole(opened, "utf-8") or _damaged_utf8(opened) or _other(opened)


def _blocks(opened: Open) -> Iterator[bytes]:
    with opened() as data:
        while block := data.read(BLOCK):
            yield block


def _holds_nul(opened: Open) -> bool:
    return any(b"\0" in block for block in _blocks(opened))


def _texts(opened: Open, codec: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    for block in _blocks(opened):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _whole(opened: Open, codec: str) -> Encoding | None:
    """The codec, where every byte decodes and no NUL character comes out."""
    try:
        return None if any("\0" in text for text in _texts(opened, codec, "strict")) else Encoding(codec)
    except UnicodeDecodeError:
        return None


def _utf16_without_mark(head: bytes) -> str | None:
    """Western text in UTF-16 has a NUL in nearly every second byte, and always in the same half."""
    sample = head[: len(head) // 2 * 2]
    half = len(sample) / 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * half and even == 0:
        return "utf-16-le"
    if even > 0.7 * half and odd == 0:
        return "utf-16-be"
    return None


@dataclass
class _Damage:
    replaced: int = 0
    foreign: int = 0
    """whole characters above ASCII"""
    line: int = 1
    nul: bool = False


def _damage(opened: Open, codec: str) -> _Damage:
    """How much of the file does not decode, and the line of the first such place."""
    found = _Damage()
    for text in _texts(opened, codec, "replace"):
        broken = text.count("\ufffd")
        if not found.replaced:
            before = text[: text.find("\ufffd")] if broken else text
            found.line += len(_LINE_END.findall(before))
        found.replaced += broken
        if not text.isascii():
            found.foreign += sum(1 for character in text if ord(character) > 127) - broken
        found.nul = found.nul or "\0" in text
    return found


def _replacing(opened: Open, codec: str) -> Encoding | None:
    damage = _damage(opened, codec)
    return None if damage.nul else _with_replacements(codec, damage)


def _with_replacements(codec: str, damage: _Damage) -> Encoding:
    message = f"{damage.replaced} places are not valid {codec} and were read as the replacement character"
    return Encoding(codec, "replace", [error("invalid_bytes", message, _SAVE_AS_UTF8, line=damage.line)])


def _damaged_utf8(opened: Open) -> Encoding | None:
    """UTF-8 with a few broken bytes: many whole multi-byte characters, few places that do not decode."""
    damage = _damage(opened, "utf-8")
    return None if damage.foreign < 3 * damage.replaced else _with_replacements("utf-8", damage)


def _other(opened: Open) -> Encoding:
    """Neither marked nor UTF-8: a non-Latin code page where the detector is sure, else Windows-1252, else Latin-1."""
    codec = _non_latin(_first_foreign(opened))
    if codec is None or _whole(opened, codec) is None:
        undefined = any(mark in block for block in _blocks(opened) for mark in _UNDEFINED_IN_CP1252)
        codec = "latin-1" if undefined else "cp1252"
    guess = warning(
        "encoding_not_utf8",
        f"the file is not UTF-8; it was read as {codec}",
        f"{_SAVE_AS_UTF8} Check a few accented letters first.",
    )
    return Encoding(codec, "strict", [guess])


def _first_foreign(opened: Open) -> bytes:
    """The first bytes of the file from the first block on that is not ASCII."""
    block = next((block for block in _blocks(opened) if not block.isascii()), b"")
    first = next((place for place, byte in enumerate(block) if byte > 127), 0)
    return block[max(0, first - _SAMPLE // 4) :][:_SAMPLE]


def _non_latin(sample: bytes) -> str | None:
    """The detector's codec where most letters are non-Latin; between Latin code pages it is not reliable."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None:
        return None
    letters = [character for character in str(best) if character.isalpha()]
    foreign = sum(1 for character in letters if ord(character) > 0x24F)
    return best.encoding if foreign >= 8 and foreign > 0.3 * len(letters) else None
