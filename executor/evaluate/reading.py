"""What an answer says, whatever its spelling: its words, its number, its JSON value, its tool calls."""

from __future__ import annotations

import json
import re
import unicodedata
from decimal import Decimal
from typing import Any

_ARTICLES = re.compile(r"(?<!\S)(a|an|the)\s+(?=\S)")
"""before a word: the last word is an answer, as the A of a choice or of hepatitis A"""
_PERCENT = re.compile(r"(?<=\d)\s+%")
_KEPT = re.compile(r"(?<!\w)-(?=[$€£]?\.?\d)|(?<=\w)#|(?<=\d)%|(?<=\d)[.,](?=\d)")
"""punctuation that means something: the sign of a number, C#, 5 %, 2.5"""
_PLUS = re.compile(r"(?<!\w)\+(?=\.?\d)")
NUMBER = re.compile(
    r"(?:(?<![\w.,])[-−–+]\s?[$€£]?)?"
    r"(?:[1-9]\d{0,2}(?:[,’'\u00a0\u2009\u202f]\d{3})+(?!\d)(?:\.\d+)?"  # 1,250.50
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d+"  # 1.250,50
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}(?!\d)"  # 1.250.000
    r"|\d+(?:[.,]\d+)?|(?<![\w.])\.\d+)"  # 3.14 and 3,14
    r"(?:[eE][+-]?\d{1,3}(?!\d))?"
)
_TAGS = re.compile(r"</?tool_call>|</?tool_calls>|\[TOOL_CALLS\]|<\|python_tag\|>|```(?:json)?|<\|tool_calls?\|>")
"""what templates write around calls"""
Call = tuple[str, str]
"""name, arguments as JSON text with sorted keys"""


def normal(text: str) -> str:
    """Lower case without punctuation and English articles, single spaces: SQuAD's rule (Rajpurkar 2016).

    Unlike there, what tells answers apart stays: the sign of a number, and symbols such as those of C++, 5 % or 3 °C.
    """
    text = re.sub(r"[−–](?=[$€£]?\.?\d)", "-", unicodedata.normalize("NFKC", text))
    text = _PLUS.sub(" ", _PERCENT.sub("%", text))
    kept = {match.start() for match in _KEPT.finditer(text)}
    told = "".join(each if place in kept or not _is_mark(each) else " " for place, each in enumerate(text))
    return " ".join(_ARTICLES.sub(" ", told.casefold()).split())


def _is_mark(character: str) -> bool:
    """Punctuation, a space, or a control character; of the symbols only those that are marks by themselves."""
    category = unicodedata.category(character)
    return category[0] in "PZC" or category == "Sk"


def number_in(text: str) -> Decimal | None:
    """The last number of a text, exactly. A comma before three digits groups them, any other one is a decimal comma."""
    found = NUMBER.findall(text)
    return value_of(found[-1]) if found else None


def value_of(words: str) -> Decimal:
    """The value of a text that NUMBER matches."""
    digits, power = re.split(r"[eE]", words) if re.search(r"[eE]", words) else (words, "0")
    digits = re.sub(r"[’'\u00a0\u2009\u202f\s$€£]", "", digits.replace("−", "-").replace("–", "-"))
    whole = digits.lstrip("+-")
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?", whole):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"[1-9]\d{0,2}(\.\d{3})+,\d+", whole) or whole.count(".") > 1:
        digits = digits.replace(".", "").replace(",", ".")
    else:
        digits = digits.replace(",", ".")
    return Decimal(f"{digits}e{power}")


def is_number(text: str) -> bool:
    """Whether the whole text is a number, with a currency or percent sign at most."""
    return bool(NUMBER.fullmatch(text.strip().strip("$€£%").strip()))


def is_identifier(text: str) -> bool:
    """Digits with a leading zero, which count nothing."""
    return bool(re.fullmatch(r"0\d+", text.strip()))


def parse_json(text: str) -> Any | None:
    """The JSON value, or None where it is not JSON (or is null)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def canonical(value: Any) -> str:
    """JSON text with sorted keys: unlike Python, it tells 1 from true; 5.0 is 5."""
    return json.dumps(whole(value), sort_keys=True)


def whole(value: Any) -> Any:
    """The value with integers where a number is one."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def calls_in(text: str) -> list[Call] | None:
    """The tool calls that a text consists of, whatever marks stand around them; None where it is anything else.

    Read are OpenAI's `tool_calls`, and objects with `name` and `arguments` (or `parameters`), one or several.
    """
    bare = _TAGS.sub(" ", text).strip()
    if not bare.startswith(("{", "[")):
        return None
    values = parse_json(bare)
    if values is None:
        values = _objects(bare)
    found = [_call(value) for value in (values if isinstance(values, list) else [values])]
    known = [call for call in found if call is not None]
    return known if known and len(known) == len(found) else None


def _objects(text: str) -> list[Any]:
    """JSON values one after the other; empty where there is anything else between them."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return []
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip(" \n\t,;"))
    return found


def _call(value: Any) -> Call | None:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = parse_json(arguments) if arguments.strip() else {}
    return (function["name"], canonical(arguments)) if isinstance(arguments, dict) else None
