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
