"""Text of unknown origin made harmless for HTML, SVG and Markdown."""

from __future__ import annotations

import html
import re

from executor.text import printable

MARKDOWN = re.compile(r"([\\`*\[\]|~#!])|(?<![^\W_])_|_(?![^\W_])")


def to_html(text: str) -> str:
    """For element content and quoted attributes."""
    return html.escape(printable(text), quote=True)


def to_markdown(text: str) -> str:
    """For one line or one table cell: markup is escaped, a line break becomes `↵`."""
    line = re.sub(r"\s*\n\s*", " ↵ ", printable(text).strip()).replace("\t", " ")
    escaped = MARKDOWN.sub(lambda found: f"\\{found.group(0)}", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
