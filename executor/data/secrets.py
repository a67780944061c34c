"""Secrets in a text: keys of known providers, tokens, private keys, and passwords given to something by name.

A value counts only if it can be a secret: what stands for one (YOUR_API_KEY, xxxx, <token>, ${VAR}) does not.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from executor.data.found import Finder, Found, all_founds
from executor.data.screen import Mask, Screen

_PATTERNS = Path(__file__).with_name("secret_patterns.yaml")
_FEWEST_DIFFERENT = 8
"""characters of a key; "sk-xxxxxxxxxxxxxxxxxxxx" has one"""
_SHORTEST_TOKEN = 15
"""characters in a run that every pattern of the table has: a Slack token of the least length"""
_STAND_IN = re.compile(
    r"^your|^(?:my|the|some|any|enter|insert|put|example|sample|dummy|fake|placeholder|change|replace|redacted|hidden|todo"
    r"|none|null|test|secret|password|pass|passwd|pwd|token|key|string|value|foo|bar)(?:[ _-]|\d?$)"
    r"|^(?:os|process|env|config|settings|request|input|self|this)\b[.\[(]|^(?:new|await) "
    r"|^\$\w|[$%]\{|\{\{|^[<\[{]|^%|\*{3}|\.{3}|…|x{4}|your[_-]|[_-](?:here|goes)$|^[a-z]+(?:_[a-z]+)+$",
    re.IGNORECASE,
)
"""what stands for a secret: its name, a marker to fill, an expression of a program"""
_UNFILLED = re.compile(r"your|x{5}|placeholder|insert|redacted|[<>{}$\[\]*…]|\.{3}|(.)\1{7}", re.IGNORECASE)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{10,}+\.[\w-]{2,}+\.[\w-]*+")
_PEM = re.compile(r"-----BEGIN (?P<kind>(?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?)-----")
_PEM_BODY = re.compile(r"(?:[A-Za-z0-9+/=:,\s-]|\\[nr])*+")
_PEM_LONGEST = 16384
"""characters; a key of 16,384 bits takes some 13,000"""
_PEM_SHORTEST = 40
_URL = re.compile(r"://(?:[^\s:/@\"'<>]{0,128}):(?P<value>[^\s/@\"'<>]{1,128})@[\w\[${<.-]")
_HEADER = re.compile(
    r"\b(?:Authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:Basic|Bearer|Token)|Bearer) {1,3}"
    r"(?P<value>[\w.~+/=-]{12,2000}+)",
    re.IGNORECASE,
)
_PASSWORD_NAME = r"(?:password|passwd|passphrase|passwort|contraseña|mot de passe|pwd|passcode|(?<![a-z])(?:pw|pass))"  # noqa: S105
_KEY_NAME = (
    r"(?:(?:api|access|account|secret|private|encryption|signing|auth)[_ -]?key"
    r"|(?:client|app|shared|consumer|webhook)[_ -]?secret|secret|token|credentials?)"
)
_SUFFIX = r"(?:_?\d{1,2}|_value|_base64|_prod|_live|_test|_dev)?"
_VALUE = r"(?:\"(?P<double>[^\"\n]{4,256})\"|'(?P<single>[^'\n]{4,256})'|(?P<plain>[^\s\"'`,;<>|(){}]{4,256}))"
_ASSIGNED = r"(?:\\?[\"'`]|\])?\s{0,3}(?::=|=>|==?|:)\s{0,3}\\?[bru]?"
_LINK = rf"{_SUFFIX}(?:{_ASSIGNED}|\s(?:is|was)(?::|\s)\s?)"
_PASSWORD = re.compile(rf"{_PASSWORD_NAME}{_LINK}{_VALUE}", re.IGNORECASE)
_KEY = re.compile(rf"{_KEY_NAME}{_LINK}{_VALUE}", re.IGNORECASE)
_EXPRESSION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_ALGORITHM = re.compile(r"(?:sha|aes|md|utf|base|rsa|argon|pbkdf|oauth|ipv|http)[_-]?\d", re.IGNORECASE)
_KEY_SHORTEST = 12
_KEY_ENTROPY = 3.0
"""bits a character (Shannon); sixteen random hexadecimal digits have about 3.2, words and identifiers less variety"""
_PASSWORD_SHORTEST = 6
_MARK = re.compile(r"[!@#$%^&*+=?~]")
_CUT = re.compile(r"&\w+=|\\n|\\[\"']")
"""where a value ends within a query string or an escaped text"""


@dataclass(frozen=True)
class _Pattern:
    name: str
    starts: tuple[str, ...]
    form: re.Pattern[str]


def find(text: str) -> list[Found]:
    """Every secret, in order of the text; the kind is `secret`, `what` says whose key or what it opens."""
    return all_founds(text, FINDERS)


def provider_keys(text: str) -> Iterator[Found]:
    """Keys with a prefix of their own."""
    if not _starts().search(text):
        return
    for pattern in _patterns():
        if any(start in text for start in pattern.starts):
            for match in pattern.form.finditer(text):
                if not _is_unfilled(match.group(), pattern.name):
                    yield _found(match, 0, pattern.name)


def web_tokens(text: str) -> Iterator[Found]:
    """JSON web tokens (RFC 7519): three parts, of which the first decodes to a header."""
    for match in _JWT.finditer(text) if "eyJ" in text else ():
        first = match.group().partition(".")[0]
        try:
            header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
        except (ValueError, binascii.Error, RecursionError):
            continue
        if isinstance(header, dict) and "alg" in header:
            yield _found(match, 0, "JSON web token")


def private_keys(text: str) -> Iterator[Found]:
    """Private keys in PEM form (RFC 7468), whole or cut off."""
    at = 0
    while match := _PEM.search(text, at):
        at, mark = match.end(), f"-----END {match.group('kind')}-----"
        end = text.find(mark, at, at + _PEM_LONGEST)
        body = _PEM_BODY.match(text, at, at + _PEM_LONGEST if end < 0 else end)
        stop = at if body is None else body.end()
        if sum(map(str.isalnum, text[at:stop])) >= _PEM_SHORTEST:
            at = end + len(mark) if end == stop else stop
            yield Found("secret", match.start(), at, text[match.start() : at], "private key")


def url_passwords(text: str) -> Iterator[Found]:
    """The password of scheme://user:password@host."""
    for match in _URL.finditer(text):
        value = match.group("value")
        if not _STAND_IN.search(value) and value.lower() not in ("pass", "passwd", "pwd"):
            yield _found(match, "value", "password in a URL")


def headers(text: str) -> Iterator[Found]:
    """What follows Authorization: Basic, Bearer and the like."""
    for match in _HEADER.finditer(text):
        value, start = match.group("value").rstrip("."), match.start("value")
        random = any(map(str.isdigit, value)) or any(map(str.isupper, value[1:]))
        if random and len(set(value)) >= _FEWEST_DIFFERENT and not _STAND_IN.search(value):
            yield Found("secret", start, start + len(value), value, "authorization header")


def passwords(text: str) -> Iterator[Found]:
    """Values given to a password by name, with at least two kinds of characters."""
    yield from _assigned(text, _PASSWORD, "password", _is_password)


def named_keys(text: str) -> Iterator[Found]:
    """Values given to a key, token or secret by name, long and varied enough to be one."""
    yield from _assigned(text, _KEY, "key", _is_key)


def _assigned(text: str, pattern: re.Pattern[str], what: str, fits: Callable[[str], bool]) -> Iterator[Found]:
    for match in pattern.finditer(text):
        group = str(match.lastgroup)
        value, start = match.group(group).rstrip("\\"), match.start(group)
        if group == "plain":
            called = text[match.end() : match.end() + 1] == "("
            value = _CUT.split(value, maxsplit=1)[0].rstrip(".?:*\\])")
            if called or _EXPRESSION.fullmatch(value):
                continue
        # "password: help!" has no mark but the end of the sentence, which yet can be part of a password
        if fits(value.rstrip("!")) and not _STAND_IN.search(value):
            yield Found("secret", start, start + len(value), value, what)


def _is_password(value: str) -> bool:
    if len(value) < _PASSWORD_SHORTEST or " " in value or "://" in value or _ALGORITHM.match(value):
        return False
    marked = any(map(str.isdigit, value)) or _MARK.search(value)
    return bool(marked and any(map(str.isalpha, value)))


def _is_key(value: str) -> bool:
    if len(value) < _KEY_SHORTEST or " " in value or "://" in value or "(" in value:
        return False
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value)) and entropy(value) >= _KEY_ENTROPY


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _is_unfilled(value: str, name: str) -> bool:
    # "sk-" is short enough to begin other words too
    wordlike = name == "API key" and not (any(map(str.isdigit, value)) and any(map(str.isalpha, value[3:])))
    return wordlike or len(set(value)) < _FEWEST_DIFFERENT or bool(_UNFILLED.search(value))


def _found(match: re.Match[str], group: int | str, what: str) -> Found:
    return Found("secret", *match.span(group), match.group(group), what)


@cache
def _patterns() -> tuple[_Pattern, ...]:
    table = yaml.safe_load(_PATTERNS.read_text(encoding="utf-8"))
    return tuple(
        _Pattern(row["name"], tuple(row["starts"]), re.compile(rf"(?:(?<![\w-])|(?<=\\n))(?:{row['form']})(?![\w-])"))
        for row in table
    )


@cache
def _starts() -> re.Pattern[str]:
    """How any of them begins: one search instead of one for each."""
    return re.compile("|".join(re.escape(start) for pattern in _patterns() for start in pattern.starts))


def _may_be_token(screen: Screen) -> Mask:
    return screen.long_token >= _SHORTEST_TOKEN


def _may_be_private_key(screen: Screen) -> Mask:
    return screen.holding("-----BEGIN")


def _may_be_url(screen: Screen) -> Mask:
    return screen.has_at & screen.holding(":")


def _may_be_header(screen: Screen) -> Mask:
    return screen.holding_folded("authorization", "bearer ")


def _may_be_password(screen: Screen) -> Mask:
    return screen.holding_folded("pass", "pw", "contraseña")


def _may_be_key(screen: Screen) -> Mask:
    return (screen.digits >= 1) & screen.holding_folded("key", "token", "secret", "credential")


FINDERS = (
    Finder(_may_be_token, provider_keys),
    Finder(_may_be_token, web_tokens),
    Finder(_may_be_private_key, private_keys),
    Finder(_may_be_url, url_passwords),
    Finder(_may_be_header, headers),
    Finder(_may_be_password, passwords),
    Finder(_may_be_key, named_keys),
)
