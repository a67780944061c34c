"""Text of unknown origin made harmless for HTML, SVG and Markdown."""

from __future__ import annotations

import html
import re
import unicodedata

MARKDOWN = re.compile(r"([\\`*\[\]|~#!])|(?<![^\W_])_|_(?![^\W_])")


def printable(text: str) -> str:
    """Control characters and lone surrogates become `�`; line breaks and tabs stay.

    Direction overrides are format characters (Cf): they go too, since they can make a text look like another one.
    """
    overrides = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return "".join(
        "\ufffd" if (unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t") or each in overrides else each
        for each in text
    )


def to_html(text: str) -> str:
    """For element content and quoted attributes."""
    return html.escape(printable(text), quote=True)


def to_markdown(text: str) -> str:
    """For one line or one table cell: markup is escaped, a line break becomes `↵`."""
    line = re.sub(r"\s*\n\s*", " ↵ ", printable(text).strip()).replace("\t", " ")
    escaped = MARKDOWN.sub(lambda found: f"\\{found.group(0)}", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
