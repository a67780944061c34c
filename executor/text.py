"""Text of unknown origin made harmless for a terminal or a page."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Control characters and lone surrogates become `�`; line breaks and tabs stay.

    Direction overrides are format characters (Cf): they go too, since they can make a text look like another one.
    """
    overrides = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return "".join(
        "\ufffd" if (unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t") or each in overrides else each
        for each in text
    )


def one_line(text: str, most: int) -> str:
    """At most `most` characters of the text, harmless and without line breaks; a shortened one ends with `…`."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def code_span(text: str, most: int = 200) -> str:
    """The text of someone else on one line in Markdown's code marks, from which it cannot get out."""
    return f"`{one_line(text, most).replace('`', chr(39)) or ' '}`"
