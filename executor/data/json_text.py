"""A JSON text read piece by piece: one value at a time, with its line, in memory no larger than that value."""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

_BLOCK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_LINE_END = re.compile(r"\r\n|\r|\n")


class TooLongError(ValueError):
    """A single value is longer than what may be held in memory."""


class JsonText:
    """A cursor over the text of a file that can seek."""

    def __init__(self, text: TextIO, decoder: json.JSONDecoder, longest: int) -> None:
        self._text, self._decoder, self._longest = text, decoder, longest
        self._buffer = ""
        self._position = 0
        self._dropped = 0
        """characters before the buffer"""
        self._line = 1
        self._counted = 0
        """position up to which lines were counted"""
        self._ended = False
        self.escaped = False
        """the last value holds a \\u escape"""

    def peek(self) -> str:
        """The next character that is no white space, not taken; '' at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._buffer) or not self._more():
                return self._buffer[self._position : self._position + 1]

    def take(self) -> None:
        self._position += 1

    def line_here(self) -> int:
        """The 1-based line of the next character that is no white space."""
        self.peek()
        self._line += len(_LINE_END.findall(self._buffer, self._counted, self._position))
        self._counted = self._position
        return self._line

    def mark(self) -> int:
        """The place in the text of the next character that is no white space."""
        self.peek()
        return self._dropped + self._position

    def value(self) -> Any:
        """The next value. Raises ValueError (TooLongError where more than `longest` characters do not end it)."""
        self.peek()
        self._drop()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except ValueError:
                # perhaps only the end is missing: read as much again, so that the work stays linear
                if len(self._buffer) > self._longest:
                    raise TooLongError(f"one value is longer than {self._longest >> 20} million characters") from None
                if not self._more(len(self._buffer)):
                    raise
                continue
            # a number at the end of the buffer may go on
            if end < len(self._buffer) or not self._more():
                self.escaped = self._buffer.find("\\u", self._position, end) >= 0
                self._position = end
                return value

    def seek_array(self, start: int, key: str | None = None) -> bool:
        """Go behind the bracket of the array under `key` (None: the first key that holds objects) of the object there.

        Reads the text again from its start. False where no such array begins within what may be held in memory.
        """
        name = re.escape(json.dumps(key, ensure_ascii=False)) if key is not None else r'"(?:[^"\\]|\\.){1,200}"'
        opening = re.compile(name + r"\s*:\s*\[" + ("" if key is not None else r"(?=\s*\{)"))
        self._text.seek(0)
        self._buffer, self._position, self._dropped, self._line, self._counted = "", 0, 0, 1, 0
        self._ended = False
        while not (match := opening.search(self._buffer, start)):
            if len(self._buffer) > self._longest or not self._more(len(self._buffer)):
                return False
        self._position = match.end()
        return True

    def _drop(self) -> None:
        """Forget what was read, now and then, so that it costs little."""
        if self._position < _BLOCK:
            return
        self.line_here()
        self._dropped += self._position
        self._buffer = self._buffer[self._position :]
        self._position = self._counted = 0

    def _more(self, least: int = 0) -> bool:
        """Read on, `least` characters or a block; False at the end."""
        if self._ended:
            return False
        block = self._text.read(max(least, _BLOCK))
        # a carriage return at a block's end may belong to the line feed that follows
        if block.endswith("\r"):
            block += self._text.read(1)
        self._ended = not block
        self._buffer += block
        return bool(block)
