"""Patterns of what does not belong into a text: unfilled placeholders, broken characters, markup, template tokens."""

from __future__ import annotations

import re

BLANK_WORDS = frozenset(
    {"nan", "null", "none", "n/a", "na", "tbd", "todo", "xxx", "-", "--", "?", "??", "???", "…", "...", "....", "#n/a"}
    | {"#ref!", "#value!", "undefined", "[object object]", "<na>", "(blank)", "(empty)", "lorem ipsum"}
)
LONGEST_BLANK = max(map(len, BLANK_WORDS))
_FIELDS = (
    r"(?:(?:first|last|full|company|customer|user|client|recipient|product|business|brand|sender|contact|order|account"
    r"|phone|email|agent)[ _])?"
    r"(?:name|date|number|email|address|company|phone|position|title|location|city|link|url|id)"
)
_PLACEHOLDER = re.compile(
    r"(?<![\w$\\{}])\{\{ ?[A-Za-z_][\w .-]{0,59} ?\}\}(?!\})"
    r"|\[(?:insert|your|todo|tbd|placeholder|enter (?:your|the|an?|here|name|date)|fill in)\b"
    r"(?: [^\]\n]{1,80}| ?\.\.\.|)\](?![(:\[])"
    rf"|(?<![\w)\]])\[{_FIELDS}\](?![(:\[\w])"
    r"|<(?:insert|your|placeholder|enter|fill in)[ _-][^<>\n]{0,80}>|<placeholder>"
    rf"|(?<![\w$\\{{'\"f]){{{_FIELDS}\}}(?!\}})"
    r"|\blorem ipsum\b"
    r"|\A\s*\{[a-z][a-z_]{0,27}\}\s*\Z",
    re.IGNORECASE,
)
BRACKET_HINTS = (
    *("<", "{{", "[/inst", "[ins", "[your", "[todo", "[tbd", "[placeholder", "[enter ", "[fill in"),
    *(word + end for word in ("name", "date", "number", "mail", "address", "company", "phone", "id") for end in "]}"),
    *("position]", "title]", "location]", "city]", "link]", "url]", "link}", "url}"),
)
"""one of these, in lower case, stands in every text with a leftover in brackets that is written in ASCII"""
LONGEST_FIELD = 32
"""characters of a text that is a field and nothing else, such as {text}"""
OTHER_HINTS = ("&", "##", "TODO", "TBD", "FIXME", "orem ipsum", "OREM IPSUM")
"""and one of these in any other"""
_TODO = re.compile(r"(?:^|[\s(\[*#])(?:(?:TODO|FIXME|TBD)[:)\]]|(?:TBD|FIXME)\s*$)|[.?!]\s+TODO\s*\Z", re.MULTILINE)
_TEMPLATE_TALK = re.compile(
    r"\{%|\b(?:jinja|handlebars|mustache|liquid|helm|vue|angular|templat\w+|placeholders?|brackets?)\b", re.IGNORECASE
)
"""texts about templates hold placeholders on purpose"""

_CONTINUED = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122"  # noqa: E501
"""what a byte 0x80-0xBF becomes in Latin-1 or Windows-1252"""
_MOJIBAKE = re.compile(
    f"\u00c3[{_CONTINUED}]"  # à-ÿ, and everything that was decoded wrongly twice
    "|\u00c2[\u00a0-\u00bf\u0080-\u009f]"  # £ ° « and the no-break space
    "|\u00e2(?:\u20ac[\u0080-\u00bf\u0152\u0153\u2018-\u201e\u2020-\u2022\u2026\u2122\u02dc\u0161\u017e\u00a6-\u00b4]"
    f"|\u201a\u00ac|\u201e\u00a2|[\u2020\u0153\u0161\u02c6\u2030\u0080-\u009f][{_CONTINUED}])"  # quotes, dashes, €, ™
    f"|\u00f0\u0178[{_CONTINUED}]{{2}}|\u00f0\u009f[\u0080-\u00bf]{{2}}"  # emoji
    f"|(?:[\u00d0\u00d1][{_CONTINUED}]){{3}}|(?:[\u00ce\u00cf][{_CONTINUED}]){{3}}"  # Cyrillic, Greek
    f"|(?:[\u00d8\u00d9][{_CONTINUED}]){{3}}|(?:\u00d7[{_CONTINUED}]){{3}}"  # Arabic, Hebrew
    f"|(?:[\u00e3-\u00e9][{_CONTINUED}]{{2}}){{2}}"  # Chinese, Japanese, Korean
    "|(?:[\u0420\u0421][\u0400-\u040f\u0450-\u045f\u00a0-\u00bb\u2013-\u203a\u20ac\u2122]){3}"  # read as Windows-1251
    "|\u201a\u00c4[\u00f4\u00fa\u00f9\u00f2\u00ee\u00ec]|\u221a[\u00a9\u00ae\u2022\u00b0](?=[a-z])"  # as Mac Roman
    "|\ufffd|\u00ef\u00bb\u00bf"
)
CONTROL = "".join(map(chr, [*range(9), 11, 12, *range(14, 32), *range(127, 160)]))
_CONTROL = re.compile(f"[{re.escape(CONTROL)}\u202d\u202e\ufeff\ufff9-\ufffb]")
"""these, and characters that turn the direction of text or mark its beginning"""
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|[lr][sd]quo|hellip|[mn]dash|copy|euro|#\d{2,6}|#x[\da-fA-F]{2,6});")
_TAG = re.compile(
    r"</?(?:p|br|div|span|b|i|u|strong|em|ul|ol|li|a|h[1-6]|table|t[rdh]|tbody|font|img|blockquote)(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
_MARKUP_TALK = re.compile(
    r"```|<!doctype|<html|\b(?:x?html5?|css|xml|svg|web ?(?:page|site)s?|tags?|markup|javascript|react|jsx|browser)\b",
    re.IGNORECASE,
)
_TEMPLATE_TOKEN = re.compile(
    r"<\|[a-z][a-z0-9_]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|^\s*<s>|</s>\s*$|</?(?:start|end)_of_turn>"
    r"|^\s*<bos>|<eos>\s*$|(?:<pad>){2,}"
    r"|^#{2,3} (?:Instruction|Response|Human|Assistant|User|System)s?:?[ \t]*(?=\n|$)|^#{2,3} (?:Human|Assistant): ?",
    re.MULTILINE,
)


def is_blank(text: str) -> bool:
    if len(text) > 2 * LONGEST_BLANK:
        return False
    word = text.strip().casefold()
    return word in BLANK_WORDS or word.rstrip(" .!") in BLANK_WORDS


def placeholder(text: str) -> str | None:
    """The first placeholder that nobody filled."""
    found = _PLACEHOLDER.search(text) or _TODO.search(text)
    if found is None or _TEMPLATE_TALK.search(text[: found.start()] + text[found.end() :]):
        return None
    return found.group().strip()


def mojibake(text: str) -> str | None:
    found = _MOJIBAKE.search(text)
    return found.group() if found else None


def control(text: str) -> str | None:
    """The first control character, or one that turns the direction of text or marks its beginning."""
    found = _CONTROL.search(text)
    return found.group() if found else None


def markup(text: str) -> str | None:
    """An HTML entity or tag, unless the text talks about markup."""
    found = _ENTITY.search(text) or _TAG.search(text)
    return found.group() if found and not _MARKUP_TALK.search(text) else None


def talks_of_markup(text: str) -> bool:
    return _MARKUP_TALK.search(text) is not None


def template_token(text: str) -> str | None:
    found = _TEMPLATE_TOKEN.search(text)
    return found.group().strip() if found else None
