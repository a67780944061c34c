"""Bytes to text: byte order marks, UTF-8, UTF-16 without a mark, then a stated guess."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from executor.data.problem import Problem, error, warning

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65536
_SAVE_AS_UTF8 = "Save the file as UTF-8."


@dataclass(frozen=True)
class Text:
    content: str
    encoding: str
    """Python's codec name"""
    problems: list[Problem]


def decode(data: bytes) -> Text | None:
    """The text of `data`, or None where it is binary (it holds NUL bytes)."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _marked(data, codec)
    if b"\0" in data:
        codec_without_mark = _utf16_without_mark(data)
        return _strict(data, codec_without_mark) if codec_without_mark else None
    return _strict(data, "utf-8") or _damaged_utf8(data) or _other(data)


def _strict(data: bytes, codec: str) -> Text | None:
    try:
        return Text(data.decode(codec), codec, [])
    except UnicodeDecodeError:
        return None


def _marked(data: bytes, codec: str) -> Text | None:
    text = _strict(data, codec)
    if text is None:
        content = data.decode(codec, errors="replace")
        text = Text(content, codec, [_replaced(content, codec)])
    return None if "\0" in text.content else text


def _utf16_without_mark(data: bytes) -> str | None:
    """Western text in UTF-16 has a NUL in nearly every second byte, and always in the same half."""
    sample = data[: _SAMPLE // 2 * 2]
    half = len(sample) / 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * half and even == 0:
        return "utf-16-le"
    if even > 0.7 * half and odd == 0:
        return "utf-16-be"
    return None


def _replaced(content: str, codec: str) -> Problem:
    before = content[: max(content.find("\ufffd"), 0)]
    return error(
        "invalid_bytes",
        f"{content.count(chr(0xFFFD))} places are not valid {codec} and were read as the replacement character",
        _SAVE_AS_UTF8,
        line=len(re.findall(r"\r\n|\r|\n", before)) + 1,
    )


def _damaged_utf8(data: bytes) -> Text | None:
    """UTF-8 with a few broken bytes: many whole multi-byte characters, few places that do not decode."""
    content = data.decode("utf-8", errors="replace")
    broken = content.count("\ufffd")
    whole = sum(1 for character in content if ord(character) > 127) - broken
    if whole < 3 * broken:
        return None
    return Text(content, "utf-8", [_replaced(content, "utf-8")])


def _other(data: bytes) -> Text:
    """Neither marked nor UTF-8: a non-Latin code page where the detector is sure, else Windows-1252, else Latin-1."""
    codec = _non_latin(data[:_SAMPLE])
    text = (codec and _strict(data, codec)) or _strict(data, "cp1252") or Text(data.decode("latin-1"), "latin-1", [])
    guess = warning(
        "encoding_not_utf8",
        f"the file is not UTF-8; it was read as {text.encoding}",
        f"{_SAVE_AS_UTF8} Check a few accented letters first.",
    )
    return Text(text.content, text.encoding, [guess])


def _non_latin(sample: bytes) -> str | None:
    """The detector's codec where most letters are non-Latin; between Latin code pages it is not reliable."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None:
        return None
    letters = [character for character in str(best) if character.isalpha()]
    foreign = sum(1 for character in letters if ord(character) > 0x24F)
    return best.encoding if foreign >= 8 and foreign > 0.3 * len(letters) else None
