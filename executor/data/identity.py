"""Numbers that name a person or an account: payment cards, bank accounts, national identity numbers, passports.

Each has a form and mostly a check digit, computed by python-stdnum. Where form and check digit are not rare enough
among other numbers, a word just before the number has to say what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module

from stdnum import iban, luhn, numdb

from executor.data.found import Found, adjacent, before
from executor.data.screen import DIGITS, UPPER, Mask, Screen

FEWEST = 5
"""digits of the shortest of these numbers"""
_CARD = re.compile(r"(?<![\w.+/-])[2-6](?:[ -]?\d){12,18}(?![\w-]|[.,]\d)")
_CARD_GROUPS = re.compile(r"\d{4}(?:([ -])\d{4}){2}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{4,5}|\d+")
_ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}"  # Discover
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
)
"""First digits and lengths of the card networks (ISO/IEC 7812, as the networks publish their ranges)."""
_MAESTRO = re.compile(r"(?:50|5[6-9]|6\d)\d{10,17}|4\d{12}")
"""ranges so wide that a word has to say "card" """
_CARD_WORD = adjacent(r"(?:credit |debit |bank |visa |mastercard |maestro |amex )?card|visa|mastercard|maestro|amex")
_OTHER_NUMBER = adjacent(
    "order|invoice|ticket|tracking|reference|ref|case|sku|part|serial|isbn|ean|upc|gtin|id|booking|confirmation"
    "|policy|claim|item|product|article|batch|lot|transaction|receipt|parcel|shipment|imei|hash|po|version|model"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ \u00a0-]?[A-Za-z0-9]{3})")
_LETTERS = str.maketrans({chr(65 + i): str(10 + i) for i in range(26)})
"""ISO 13616: A is 10, B is 11 … in the number whose remainder is checked"""
_SSN = re.compile(r"(?<![\w.+/-])\d{3}([ -]?)\d{2}\1\d{4}(?![\w-]|[.,]\d)")
_SSN_WORD = adjacent(r"ssn|ss#|social(?: security)?|tin|tax ?payer(?: identification)?")
_PASSPORT = re.compile(
    r"\bpassport(?: (?:numbers?|num|no\.?|nr\.?|id)|#)?[\s:#(]{0,3}(?:(?:is|was)[\s:#]{1,3})?"
    r"(?P<value>(?=[A-Z]{0,7}\d{5})[A-Z]{0,2}\d{6,9}[A-Z]?|[CFGHJKLMNPRTVWXYZ](?=(?:[A-Z]*\d){4})[0-9A-Z]{8})\b",
    re.IGNORECASE,
)
_LICENCE = re.compile(
    r"\b(?:driver'?s?|driver’s|driving) licen[cs]e(?: (?:numbers?|num|no\.?|nr\.?|id)|#)?[\s:#(]{0,3}"
    r"(?:(?:is|was)[\s:#]{1,3})?(?P<value>(?=[A-Z-]{0,6}\d[\dA-Z-]{0,16}\d)(?=(?:[A-Z-]*\d){5})[A-Z0-9-]{6,20})\b",
    re.IGNORECASE,
)


_BOUND = r"(?<![\w.+/-])"
_BREAK = r"(?![\w-]|[.,]\d)"


@dataclass(frozen=True)
class _Id:
    pattern: re.Pattern[str]
    form: str
    module: str
    """of stdnum, which checks form, dates and check digits; '' where the form is all there is"""
    what: str
    cue: re.Pattern[str] | None = None
    """what has to lead up to the number; None: form and check digits are rare enough"""
    words: tuple[str, ...] = ()
    """of the cue, in lower case"""

    def checks(self, number: str) -> bool:
        return not self.module or _checks(self.module, number)


def _id(form: str, module: str, what: str, cue: str = "") -> _Id:
    words = tuple(cue.split("|")) if cue else ()
    return _Id(re.compile(f"{_BOUND}(?:{form}){_BREAK}"), form, module, what, adjacent(cue) if cue else None, words)


_IDS = (
    _id(r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", "it.codicefiscale", "Italian tax code"),
    _id(r"\d{3}\.\d{3}\.\d{3}-\d\d", "br.cpf", "Brazilian CPF"),
    _id(r"756\.\d{4}\.\d{4}\.\d\d", "ch.ssn", "Swiss AHV number"),
    _id(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", "be.nn", "Belgian national number"),
    _id(r"(?:19|20)?\d{6}[-+]\d{4}", "se.personnummer", "Swedish personal number"),
    _id(r"\d{6}[-+A]\d{3}[0-9A-Y]", "fi.hetu", "Finnish identity code"),
    _id(r"\d{6}-[1-4]\d{6}", "kr.rrn", "Korean registration number"),
    _id(r"[1-9]\d{16}[\dX]", "cn.ric", "Chinese identity number"),
    _id(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", "mx.curp", "Mexican CURP"),
    _id(r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni", "Spanish DNI"),
    _id(r"[XYZ]-?\d{7}-?[A-Z]", "es.nie", "Spanish NIE"),
    _id(r"[12] ?\d\d ?(?:0\d|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir", "French social security number"),
    _id(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D]", "", "UK NI number"),
    _id(
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6} ?[A-D]",
        "",
        "UK NI number",
        "national insurance|nino|ni",
    ),
    _id(r"\d{3}[ -]?\d{3}[ -]?\d{4}", "gb.nhs", "NHS number", "nhs"),
    _id(r"\d{11}", "pl.pesel", "Polish PESEL", "pesel"),
    _id(
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        "de.idnr",
        "German tax number",
        "steuer-id|steuerid|idnr|steueridentifikationsnummer",
    ),
    _id(r"\d{4}\.?\d{2}\.?\d{3}", "nl.bsn", "Dutch BSN", "bsn|burgerservicenummer"),
    _id(r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", "in_.aadhaar", "Aadhaar number", "aadhaar|aadhar|uid|uidai"),
    _id(r"[A-Z]{5}\d{4}[A-Z]", "in_.pan", "Indian PAN", "pan|pan card"),
    _id(r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin", "Canadian SIN", "sin|social insurance"),
    _id(r"\d{3} ?\d{3} ?\d{3}", "au.tfn", "Australian TFN", "tfn|tax file"),
    _id(r"\d{7}[A-W][A-IW]?", "ie.pps", "Irish PPS number", "pps|ppsn|personal public service"),
    _id(r"[1-9]\d{10}", "tr.tckimlik", "Turkish identity number", "tc kimlik|tckn|kimlik"),
    _id(r"\d{6} ?\d{4} ?\d{3}", "za.idnr", "South African ID", "id"),
    _id(r"\d{6}-?\d{4}", "dk.cpr", "Danish CPR number", "cpr"),
    _id(r"\d{6} ?\d{5}", "no.fodselsnummer", "Norwegian national number", "fødselsnummer|fodselsnummer|personnummer"),
    _id(r"9\d\d-?\d\d-?\d{4}", "us.itin", "US ITIN", "itin|individual taxpayer identification"),
)


_ANNOUNCED = tuple(each for each in _IDS if each.cue)
_ANNOUNCING = re.compile("|".join(sorted({rf"\b{re.escape(word)}" for each in _ANNOUNCED for word in each.words})))
_UNANNOUNCED = tuple(each for each in _IDS if not each.cue)
_SELF_TELLING = re.compile(rf"(?=[A-Z\d]){_BOUND}(?=(?:{'|'.join(each.form for each in _UNANNOUNCED)}){_BREAK})")


_CHAIN = 9
"""digits of the shortest number of `DENSE_SEARCHES`, and of an identity number without letters"""
_LETTERED = ((UPPER, DIGITS), (DIGITS, UPPER), (DIGITS, "-", UPPER), (UPPER, "-", DIGITS), (UPPER, " ", DIGITS))
"""one of these is in every identity number of fewer digits"""


def may_hold(screen: Screen, among: Mask) -> Mask:
    """Which of these texts can hold a number that is found here; a test holds this to be no narrower."""
    coded = among & screen.beside((UPPER + UPPER.lower(), DIGITS, DIGITS))
    lettered = among & screen.beside(*_LETTERED)
    dense = screen.digit_chain >= _CHAIN
    told = screen.matching(_SELF_TELLING, (lettered | (among & screen.holding("+"))) & ~dense)
    told |= screen.matching(_ANNOUNCING, lettered & ~dense & ~told, folded=True)
    return dense | told | screen.matching(_IBAN, coded & ~dense & ~told) | screen.holding_folded("passport", " licen")


def cards(text: str) -> Iterator[Found]:
    """Payment cards: a known network's first digits and length, the Luhn check digit, and a usual grouping."""
    for match in _CARD.finditer(text):
        shown, lead = match.group(), before(text, match.start())
        digits = "".join(filter(str.isdigit, shown))
        known = _ISSUERS.fullmatch(digits) or (_MAESTRO.fullmatch(digits) and _CARD_WORD.search(lead))
        if not known or not _CARD_GROUPS.fullmatch(shown) or len(set(digits)) == 1 or not luhn.is_valid(digits):
            continue
        if not _OTHER_NUMBER.search(lead):
            yield Found("pii_credit_card", *match.span(), shown)


def ibans(text: str) -> Iterator[Found]:
    """Bank accounts: the country's length and form, and the two check digits (ISO 13616).

    Check digits inside the national part are not looked at: stand-ins made up for a data set often lack them.
    """
    last = 0
    for start in (match.start() for match in _IBAN.finditer(text)):
        form = _iban_form(text[start : start + 2].upper())
        match = form.match(text, start) if form and start >= last else None
        if match and _remainder_fits(match.group()) and iban.is_valid(match.group(), check_country=False):
            last = match.end()
            yield Found("pii_iban", start, last, match.group())


def _remainder_fits(shown: str) -> bool:
    compact = re.sub("[ \u00a0-]", "", shown).upper()
    # 00, 01 and 99 leave the right remainder too, and are never given
    return "02" <= compact[2:4] <= "98" and int((compact[4:] + compact[:4]).translate(_LETTERS)) % 97 == 1


@cache
def _iban_form(country: str) -> re.Pattern[str] | None:
    """As long as the registry that stdnum carries tells ("8!n10!n": 18 characters behind the first four)."""
    known = dict(numdb.get("iban").info(country)).get(country)
    length = sum(map(int, re.findall(r"(\d+)!", known["bban"]))) if known else 0
    return re.compile(rf"..\d\d(?:[ \u00a0-]?[A-Za-z0-9]){{{length}}}(?![A-Za-z0-9])") if length else None


def social_security(text: str) -> Iterator[Found]:
    """US social security numbers: three, two and four digits, with hyphens or announced, within the ranges in use."""
    for match in _SSN.finditer(text):
        lead = before(text, match.start())
        announced = bool(_SSN_WORD.search(lead))
        hyphens = match.group(1) == "-"
        if (announced or (hyphens and not _OTHER_NUMBER.search(lead))) and _checks("us.ssn", match.group()):
            yield Found("pii_ssn", *match.span(), match.group())


def national_ids(text: str) -> Iterator[Found]:
    """Identity, tax and social insurance numbers of other countries."""
    for place in _SELF_TELLING.finditer(text):
        # several countries write numbers alike
        for each in _UNANNOUNCED:
            match = each.pattern.match(text, place.start())
            if match and not _OTHER_NUMBER.search(before(text, match.start())) and each.checks(match.group()):
                yield Found("pii_national_id", *match.span(), match.group(), each.what)
                break
    folded = text.lower()
    if not _ANNOUNCING.search(folded):
        return
    for each in _ANNOUNCED:
        for match in each.pattern.finditer(text) if any(word in folded for word in each.words) else ():
            if each.cue and each.cue.search(before(text, match.start())) and each.checks(match.group()):
                yield Found("pii_national_id", *match.span(), match.group(), each.what)


def papers(text: str) -> Iterator[Found]:
    """Numbers of passports and driving licences, which have no check digit: only behind those words."""
    folded = text.lower()
    for code, word, pattern in (("pii_passport", "passport", _PASSPORT), ("pii_driver_license", " licen", _LICENCE)):
        for match in pattern.finditer(text) if word in folded else ():
            yield Found(code, *match.span("value"), match.group("value"))


@lru_cache(maxsize=1 << 15)
def _checks(module: str, number: str) -> bool:
    # some modules know no spaces, and none asks for them
    return bool(import_module(f"stdnum.{module}").is_valid(number.replace(" ", "")))


SEARCHES = (ibans, national_ids, papers)
"""for every text with some digits"""
DENSE_SEARCHES = (cards, social_security)
"""for texts with many digits close together"""
