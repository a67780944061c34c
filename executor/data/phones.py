"""Telephone numbers: shapes of numbers first, then the numbering plans of `phonenumbers` (Google's libphonenumber).

A number is taken for a telephone number by its shape (an international or a national way to write one), or because a
word just before it says so. A word such as "order" or "ISBN" just before it rules it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers
from phonenumbers import ValidationResult

from executor.data.found import Found, Taken, adjacent, before
from executor.data.screen import Mask, Screen

FEWEST = 7
"""digits of a number: a local one in North America (555-0134)"""
_FEWEST_NATIONAL = 9
"""digits with the leading 0; shorter ones are rare, and written like room and part numbers"""
_MOST = 17
"""digits with a country code (15, ITU-T E.164) behind 00"""
_GAP = "[ ()./\u00a0\u202f\u2010\u2011\u2012\u2013-]"
_DASH = "[ .\u00a0\u2010\u2011\u2012\u2013-]"
_START = r"(?<![\w.,+@#$€£¥%/&-])(?<!\(\+)"
_STOP = r"(?![\w%€£$]|[-.,:/]\d)"
_SHAPES = re.compile(
    rf"(?=[+(\d]){_START}(?:"
    rf"(?P<plus>\+\(?\d(?:{_GAP}{{0,2}}\d){{6,14}})"
    rf"|(?<!\d\d[ -])(?:(?P<zeros>00[1-9]\d?(?:{_GAP}{{0,2}}\d){{7,13}})"
    rf"|(?P<america>(?:1{_DASH})?(?:\([2-9]\d\d\){_DASH}?|[2-9]\d\d{_DASH})\d{{3}}{_DASH}\d{{4}})"
    rf"|(?P<brazil>\([1-9]\d\) ?9?\d{{4}}-\d{{4}})"
    rf"|(?P<zero>\(?0[1-9]\d{{0,4}}\)?(?:(?:{_DASH}|/| / | - )\d{{2,8}}){{1,5}})"
    rf"|(?P<india>[6-9]\d{{4}}[ -]\d{{5}})"
    rf"|(?P<mobile>07[1-9]\d{{8}}))"
    rf"){_STOP}"
)
_DENSE = re.compile(rf"\d(?:{_GAP}{{0,3}}\d){{{FEWEST - 1}}}")
_WEAK = re.compile(rf"{_START}\(?\d(?:{_GAP}{{0,2}}\d){{6,14}}{_STOP}")
"""only behind a word that announces a telephone number"""
_REACH = 40
"""characters from such a word to the number"""
_ANNOUNCED = re.compile(
    r"\b(?:tele)?(?:phone|fax)\b|\btel\b|\b(?:call|ring|text|dial|reach|whatsapp|sms)(?: (?:me|us|him|her|them))?\b"
    r"|\b(?:mobile|cell|mob|ph|landline|hotline|helpline|handy|telefon\w*|t[eé]l[eé](?:fono|phone|fone)|m[oó]vil"
    r"|celular|portable|rufnummer|my number is|contact number)\b",
    re.IGNORECASE,
)
_ANNOUNCERS = (
    "tel",
    "fax",
    "call",
    "ring",
    "text",
    "dial",
    "reach",
    "whatsapp",
    "sms",
    "mob",
    "cell",
    "ph",
    "line",
    "handy",
    "tél",
    "móvil",
    "movil",
    "celular",
    "portable",
    "rufnummer",
    "number",
)
"""one of them is in all that the two patterns match"""
_ANNOUNCER = re.compile("|".join(map(re.escape, _ANNOUNCERS)))
_EXPLAINED = re.compile(
    r"[\s,)]{0,3}(?:is|was) (?:my|his|her|our|their|the) (?:new |old |home |work )?(?:phone|mobile|cell|number)\b"
)
_OTHER_NUMBER = adjacent(
    "order|invoice|ticket|tracking|reference|ref|case|sku|part|serial|isbn|issn|ean|upc|gtin|asin|id|account|acct"
    "|version|build|booking|confirmation|policy|claim|customer|client|model|item|product|article|batch|lot|iban|card"
    "|vin|doi|patent|licen[cs]e|passport|ssn|transaction|receipt|parcel|shipment|delivery|code|pin|imei|uuid|hash"
    "|member(?:ship)?|employee|student|meter|contract|request|incident|issue|bug|po|rma|wallet|bestellung|rechnung"
    "|number is not|pages?|lines?|rows?|chapter|section"
)
_DATE = re.compile(
    r"(?:\d{4}[ ./-]\d{1,2}[ ./-]\d{1,2}|\d{1,2}([ ./-])\d{1,2}\1\d{4}|\d{1,2}[./-]\d{1,2}[./-]\d\d)\b(?![./-]\d)"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:([ \u00a0\u202f.])\d{3})(?:\1\d{3})*")
_ZERO_REGIONS = ("GB", "DE", "FR", "IT", "AU", "NL", "JP", "AT", "CH", "BE", "IE", "SE", "NZ", "ZA", "IN", "BR", "TR")
"""where national numbers are written with a leading 0"""
_REGIONS = (
    *_ZERO_REGIONS,
    *("US", "GB", "DE", "FR", "ES", "IT", "PL", "PT", "IN", "AU", "BR", "MX", "NL", "CN", "DK", "NO", "SG", "HK"),
)
_OF_SHAPE = {"brazil": ("BR",), "india": ("IN",), "mobile": ("GB",), "zero": _ZERO_REGIONS}
_TRIMS = 5
_DIGITS = "0123456789"
_NOT_DIGITS = re.compile(r"\D+")


def is_dense(text: str) -> bool:
    """Whether enough digits for a telephone number, a card or a US identity number stand close together."""
    return _DENSE.search(text) is not None


def may_hold(screen: Screen, among: Mask) -> Mask:
    """Which of these texts can hold a telephone number; a test holds this to be no narrower."""
    chain = screen.digit_chain
    shaped = (chain >= _FEWEST_NATIONAL) | (screen.holding("+") & (screen.digits >= FEWEST))
    maybe = screen.matching(_ANNOUNCER, among & ~shaped & (chain >= FEWEST), folded=True)
    return shaped | screen.matching(_ANNOUNCED, maybe) | screen.matching(_EXPLAINED, maybe)


def find(text: str) -> Iterator[Found]:
    """Every telephone number, those with a shape of their own first."""
    if not is_dense(text):
        return
    taken = Taken(text)
    at = 0
    while match := _SHAPES.search(text, at):
        found = _judged(text, match.start(), match.group(), str(match.lastgroup))
        if found:
            taken.take(found.start, found.end)
            yield found
        at = found.end if found else match.start() + 1
    for start, end in _announced(text):
        if taken.take(start, end):
            yield Found("pii_phone", start, end, text[start:end])


def _judged(text: str, start: int, candidate: str, shape: str) -> Found | None:
    for _ in range(_TRIMS):
        if _accepted(candidate, shape):
            ruled_out = shape != "plus" and _OTHER_NUMBER.search(before(text, start))
            if _DATE.match(candidate) or ruled_out:
                return None
            return Found("pii_phone", start, start + len(candidate), candidate)
        # another number may stand right behind this one
        if shape == "america":
            return None
        candidate = candidate.rstrip(_DIGITS).rstrip(_GAP[1:-1])
    return None


def _accepted(candidate: str, shape: str) -> bool:
    digits = _digits(candidate)
    if not FEWEST <= len(digits) <= _MOST:
        return False
    if shape == "plus":
        return _possible("+" + digits)
    if shape == "zeros":
        return _valid("+" + digits[2:], None)
    if shape == "america":
        # the area code 555 is given to nobody, and much used in examples, which stand for a real number
        return "(" in candidate or not _all_spaces(candidate) or _valid(digits, "US")
    return len(digits) >= _FEWEST_NATIONAL and _valid_in(digits, _OF_SHAPE[shape])


def _announced(text: str) -> Iterator[tuple[int, int]]:
    """Spans of numbers of no particular shape that a word declares to be telephone numbers."""
    folded = text.lower()
    if not any(word in folded for word in _ANNOUNCERS):
        return
    last = 0
    for word in _ANNOUNCED.finditer(text):
        match = _WEAK.search(text, max(last, word.end()), word.end() + _REACH)
        beside = match is not None and not any(map(str.isalpha, text[word.end() : match.start()]))
        if match and _is_number(text, match, beside):
            last = match.end()
            yield match.span()
    for word in _EXPLAINED.finditer(text):
        for match in _WEAK.finditer(text, max(0, word.start() - _REACH // 2), word.start()):
            if match.end() == word.start() and _is_number(text, match, beside=True):
                yield match.span()


def _is_number(text: str, match: re.Match[str], beside: bool) -> bool:
    """Whether it can be a telephone number; only right beside the word can it look like 612 345 678."""
    # the search may have been cut off within a number
    if match.end() < len(text) and (text[match.end()].isalnum() or text[match.end()] == "%"):
        return False
    candidate = match.group()
    digits = _digits(candidate)
    if len(digits) < 9 and candidate.isdigit():
        return False
    amount = _THOUSANDS.fullmatch(candidate) and not beside
    if amount or _DATE.match(candidate) or _OTHER_NUMBER.search(before(text, match.start())):
        return False
    if len(digits) == FEWEST and re.fullmatch(r"[2-9]\d\d[-. ]\d{4}", candidate):
        return True
    american = len(digits) == 10 and digits[0] in "23456789" and digits[3] in "23456789"
    return american or _valid_in(digits, _REGIONS)


def _digits(candidate: str) -> str:
    # (0) in +44 (0)20 is only dialled within the country
    kept = candidate.replace("(0)", "") if candidate.startswith("+") else candidate
    return _NOT_DIGITS.sub("", kept)


def _all_spaces(candidate: str) -> bool:
    return not any(each in "-./\u2010\u2011\u2012\u2013" for each in candidate)


@lru_cache(maxsize=1 << 15)
def _valid_in(digits: str, regions: tuple[str, ...]) -> bool:
    return any(_valid(digits, region) for region in regions)


def _valid(digits: str, region: str | None) -> bool:
    """Whether a numbering plan has such a number."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException:
        return False


@lru_cache(maxsize=1 << 15)
def _possible(digits: str) -> bool:
    """Whether a country code stands in front and the length is right."""
    try:
        number = phonenumbers.parse(digits, None)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE)
