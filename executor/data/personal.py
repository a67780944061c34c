"""Personal data in a text: e-mail and network addresses, dates of birth, street addresses, names, and all numbers.

Precision comes first: what only may be personal data (a bare name, a bare date) is left alone unless the words around
it say what it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from executor.data import identity, phones
from executor.data.found import Finder, Found, Taken, adjacent, all_founds, before
from executor.data.screen import Mask, Screen

_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-" + "".join(map(chr, range(0xC0, 0x180)))
"""characters of the part before the @, in the forms in use"""
_LONGEST_LOCAL = 64
"""RFC 5321, 4.5.3.1.1"""
_DOMAIN = re.compile(r"@((?:[\w-]{1,63}\.){1,6}([A-Za-z]{2,24}))(?![\w@]|-\w)")
_FILE_ENDINGS = frozenset(
    ("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "xml", "lock")
)
"""logo@2x.png is a picture"""
_SPELLED = re.compile(
    r"(?<![\w.+-])[\w+-][\w.+-]{0,63} ?(?:\(at\)|\[at\]|\{at\}) ?[\w-]{1,63}"
    r"(?:(?: ?(?:\(dot\)|\[dot\]|\{dot\}) ?|\.)[\w-]{1,63}){0,4}(?: ?(?:\(dot\)|\[dot\]|\{dot\}) ?|\.)[a-z]{2,24}\b",
    re.IGNORECASE,
)
_SPELLED_AT = re.compile(r"[(\[{]at[)\]}]", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.@+-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d|/\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-f]{3}:[0-9a-f:]{3,34}(?![\w:]|/\d)", re.IGNORECASE)
_DOCUMENTATION = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)
"""RFC 5737 and RFC 3849: examples, which stand for an address of someone"""
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "9.9.9.9", "1.1.1.1", "1.0.0.1", "208.67.222.222", "208.67.220.220"})
"""services for everyone, often named in advice"""
_VERSION = adjacent(
    r"v|ver|version|release|build|firmware|driver|sdk|patch|section|chapter|clause|update|upgrade(?:d)?"
)
_SOFTWARE = re.compile(
    r"(?:\b(?:version|release|firmware|driver|chrome|edge|build|upgrade)\w*\b[^\n]{0,30}|\w[/-]v?)$", re.I
)
_ADDRESS_WORD = re.compile(r"\b(?:ips?|ipv[46]|address|server|host|ping|from|logged|login|connect\w*)\b", re.IGNORECASE)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|januar|februar|märz|mai|juni|juli|oktober|dezember)\b\.?"
)
_YEAR = r"(?:19|20)\d\d"
_DATE = (
    rf"(?:{_YEAR}[-/.](?:1[0-2]|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])"
    rf"|(?:3[01]|[12]\d|0?[1-9])(?P<mark>[-/.] ?)(?:3[01]|[12]\d|0?[1-9])(?P=mark)(?:{_YEAR}|\d\d)"
    rf"|(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th|\.)?[ -](?:of )?{_MONTH},?[ -]{_YEAR}"
    rf"|{_MONTH}[ -](?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?,? {_YEAR})(?![\w-])"
)
_BIRTH = re.compile(
    r"\b(?:born|dob|d\.o\.b|date of birth|birth ?dates?|birthday|day of birth|geboren|geburtsdatum|geb|née? le"
    rf"|date de naissance|fecha de nacimiento)\b[^\d\n!?]{{0,40}}?\b(?=[\djfmasond])(?P<value>{_DATE})",
    re.IGNORECASE,
)
_BIRTH_WORDS = ("born", "dob", "d.o.b", "birth", "geb", "né", "naissance", "nacimiento")
_WORD = r"[A-Z][a-zà-ÿ'’-]{1,20}\.?"
_SURE_STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln)\b\.?"
_ANY_STREET = (
    r"(?:Drive|Dr|Court|Ct|Way|Place|Pl|Terrace|Square|Sq|Close|Crescent|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Trail"
    r"|Gardens|Grove|Mews|Row|Hill)\b\.?"
)
_HOUSE = r"(?<![\w.,/$€£#+-])\d{1,5}[A-Za-z]?,? (?:[NSEW]{1,2}\.? )?"
_CODE = r"(?:[A-Z]{2},? \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})\b"
"""a US state and ZIP code, or a UK postcode"""
_STREETS = (
    re.compile(
        rf"{_HOUSE}(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}?(?:{_SURE_STREET}|{_ANY_STREET})[^\n\d]{{0,40}}?"
        rf"(?:(?:Apt|Apartment|Suite|Unit|Flat)\.? ?#?\w{{1,5}}[^\n\d]{{0,30}}?)?{_CODE}"
    ),
    re.compile(
        rf"{_HOUSE}(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}?{_SURE_STREET}"
        r"(?:,? (?:Apt|Apartment|Suite|Unit|Flat)\.? ?#?\w{1,5})?(?=[,;.!?)\n]|$| in [A-Z]| and\b)"
    ),
    re.compile(
        r"(?<![\w-])[A-ZÄÖÜ][\wäöüß-]{2,30}(?:straße|strasse|str\.| Straße| Strasse| Str\.)"
        r" \d{1,3} ?[a-z]?\b(?:, ?\d{5} [A-ZÄÖÜ][\wäöüß-]+)?"
    ),
    re.compile(
        r"(?<![\w-])[A-ZÄÖÜ][\wäöüß-]{2,30}(?:weg|platz|allee|gasse|ring|damm|ufer) \d{1,3} ?[a-z]?"
        r"(?:, ?|\n)(?:D-)?\d{5} [A-ZÄÖÜ][\wäöüß-]+"
    ),
)
_LIVES = re.compile(
    r"\b(?i:lives? at|living at|reside[sd]? at|address(?: is|:)|deliver(?:ed)? to|ship(?:ped)? to|moved to|sent? to)\s+"
    rf"(?P<value>\d{{1,5}}[A-Za-z]?,? (?:[NSEW]{{1,2}}\.? )?(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}?"
    rf"(?:{_SURE_STREET}|{_ANY_STREET}))"
)
_STREET_WORD = re.compile(
    rf"(?<= )(?:{_SURE_STREET}|{_ANY_STREET})|stra(?:ß|ss)e|str\.|(?:weg|platz|allee|gasse|ring|damm|ufer) \d"
)
_STREET_FIRST = "SARBLDCWPTHGM"
_STREET_SECOND = "tvodlnraeqkwi"
"""second letters of those words"""
_GERMAN_STREETS = ("stra", "str.", "weg ", "platz ", "allee ", "gasse ", "ring ", "damm ", "ufer ")
_RANKED = re.compile(r"\b(?:top|the|these|those|of|all|first|last|over|about)\s+$", re.IGNORECASE)
_NAME = r"[A-ZÀ-Þ][a-zà-ÿ]{1,20}(?:[-'’][A-ZÀ-Þ][a-zà-ÿ]{1,20})?"
_LAST = r"(?:Mc|Mac|O['’])?" + _NAME
_FULL = rf"{_NAME}(?: [A-Z]\.)?(?: (?:van|von|de|der|da|di|bin|al|la))?(?: {_LAST}){{1,2}}"
_NAMED = re.compile(
    r"\b(?i:my (?:full )?name is|my name[’']s|mein name ist|ich heiße|je m[’']appelle|mon nom est|me llamo"
    rf"|mi nombre es)\s+(?P<value>{_FULL})\b"
    r"|(?:^|[\n.!?,;(])[ \t>*-]*(?i:(?:full |customer |patient |client |employee )?name)\s?:[ \t*]*"
    rf"(?P<form>{_FULL})(?=[ \t]*(?:$|[\n,;|]))"
)
_GREETED = re.compile(
    rf"\b[Dd]ear (?:Mrs?|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Herr|Frau)\b\.? (?P<value>{_LAST}(?: {_LAST})?)\b"
)
_SIGNED = re.compile(
    r"\b(?i:regards|sincerely|faithfully|best wishes|best|yours truly|many thanks|thank you|thanks|cheers)"
    r"[,.!]?[ \t]*\n\s{0,4}"
    rf"(?P<value>{_FULL})[ \t]*(?=\n|$)"
)
_NO_NAME = frozenset(
    re.findall(
        r"\w+",
        "team support customer service services department office bank company group the your my our inc "
        "ltd manager care desk help center centre international university school college assistant "
        "model language street new united general not sales billing marketing human resources director "
        "editor staff committee admin name first last",
    )
)


def find(text: str) -> list[Found]:
    """Every span of personal data, in order of the text. Spans of different kinds can overlap."""
    return all_founds(text, FINDERS)


def emails(text: str) -> Iterator[Found]:
    """Addresses with an @, and those spelled with (at) and (dot)."""
    for match in _DOMAIN.finditer(text):
        # read backwards from each @: a pattern that starts with the local part would try every place of the text
        head = text[max(0, match.start() - _LONGEST_LOCAL) : match.start()]
        start = match.start() - len(head) + len(head.rstrip(_LOCAL))
        start += len(text[start : match.start()]) - len(text[start : match.start()].lstrip(".%-"))
        local = text[start : match.start()]
        if not local or local == "git" or match.group(2).lower() in _FILE_ENDINGS or _in_address(text, start):
            continue
        yield Found("pii_email", start, match.end(), text[start : match.end()])
    for match in _SPELLED.finditer(text) if _SPELLED_AT.search(text) else ():
        yield Found("pii_email", *match.span(), match.group())


def _in_address(text: str, start: int) -> bool:
    """Whether user:password@host of a URL stands here."""
    lead = text[max(0, start - 2 * _LONGEST_LOCAL) : start]
    scheme = lead.rfind("://")
    return scheme >= 0 and not any(each.isspace() for each in lead[scheme:])


def numbers(text: str) -> Iterator[Found]:
    """Cards, accounts, identity and telephone numbers; a part of another number is no telephone number."""
    taken = Taken(text)
    dense = phones.is_dense(text)
    for search in (*identity.DENSE_SEARCHES, *identity.SEARCHES) if dense else identity.SEARCHES:
        for found in search(text):
            taken.take(found.start, found.end)
            yield found
    if dense:
        yield from (found for found in phones.find(text) if not taken.holds(found.start, found.end))


def networks(text: str) -> Iterator[Found]:
    """Public IP addresses; versions, masks, networks and private addresses are none."""
    for match in _IPV4.finditer(text):
        lead, shown = before(text, match.start()), match.group()
        numbers = shown.split(".")
        if shown in _RESOLVERS or _VERSION.search(lead) or any(len(n) > 1 and n[0] == "0" for n in numbers):
            continue
        small = sum(int(number) < 20 for number in numbers) > 2
        if _SOFTWARE.search(lead) or (small and not _ADDRESS_WORD.search(lead)):
            continue
        if _public(ipaddress.ip_address(shown)):
            yield Found("pii_ip", *match.span(), shown)
    for match in _IPV6.finditer(text):
        shown = match.group()
        try:
            address = ipaddress.ip_address(shown)
        except ValueError:
            continue
        if _public(address):
            yield Found("pii_ip", *match.span(), shown)


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in network for network in _DOCUMENTATION if network.version == address.version):
        return True
    return address.is_global and not address.is_multicast


def births(text: str) -> Iterator[Found]:
    """Dates from 1900 on that words such as "born" or "DOB" declare to be dates of birth."""
    folded = text.lower()
    if not any(word in folded for word in _BIRTH_WORDS):
        return
    for match in _BIRTH.finditer(text):
        yield Found("pii_date_of_birth", *match.span("value"), match.group("value"))


def addresses(text: str) -> Iterator[Found]:
    """Street addresses of US, UK and German form: a number, a street, and more that tells it from a phrase."""
    taken = Taken(text)
    for pattern in (*_STREETS, _LIVES) if _STREET_WORD.search(text) else ():
        for match in pattern.finditer(text):
            start, end = match.span("value") if pattern is _LIVES else match.span()
            if not _RANKED.search(before(text, start)) and taken.take(start, end):
                yield Found("pii_address", start, end, text[start:end])


def names(text: str) -> Iterator[Found]:
    """Names that the words around them declare to be names: "my name is", "Dear Mr", the line below "Regards,"."""
    for pattern in (_NAMED, _GREETED, _SIGNED):
        for match in pattern.finditer(text):
            group = "form" if pattern is _NAMED and match.group("form") else "value"
            value = match.group(group)
            if not any(word.lower().strip(".") in _NO_NAME for word in value.split()):
                yield Found("pii_name", *match.span(group), value)


def _may_name(screen: Screen) -> Mask:
    return screen.holding_folded("name", "dear ", "ich hei", "appelle", "llamo", "nombre") | screen.holding("\n")


def _may_mail(screen: Screen) -> Mask:
    return screen.has_at | screen.holding("(", "[", "{")


def _may_hold_number(screen: Screen) -> Mask:
    among = screen.digits >= identity.FEWEST
    return among & (identity.may_hold(screen, among) | phones.may_hold(screen, among))


def _may_be_network(screen: Screen) -> Mask:
    return (screen.digits >= 4) & ((screen.count(".") >= 3) | (screen.count(":") >= 2))


def _may_be_address(screen: Screen) -> Mask:
    english = screen.beside((" ", _STREET_FIRST, _STREET_SECOND))
    return screen.matching(_STREET_WORD, (screen.digits >= 1) & (english | screen.holding(*_GERMAN_STREETS)))


FINDERS = (
    Finder(_may_mail, emails),
    Finder(_may_hold_number, numbers),
    Finder(_may_be_network, networks),
    Finder(lambda screen: (screen.digits >= 4) & screen.holding_folded(*_BIRTH_WORDS), births),
    Finder(_may_be_address, addresses),
    Finder(_may_name, names),
)
