"""Replies to the questions that `decide` asked: each to its question, also where it is only a number or a yes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from knowledge.load import questions
from tools.situation import Situation, extract, scaled

_NUMBERED = re.compile(r"(?:^|(?<=[\s,;]))([1-9])\s?[.):=]\s+(?=\S)")
_NUMBER = re.compile(r"(?<![\w.])(\d[\d,' ]*(?:\.\d+)?)\s?(k|thousand|m|million)?\b", re.I)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)\s?%?")
_HAVING = re.compile(r"\b(?:had|have|with) (?:only |just |about )*(\d[\d,' ]*)\s?(k|thousand)?\W*$", re.I)
"""`if I only had 40?`: what one has are examples."""
_YES = re.compile(r"\W*(yes|yep|yeah|yup|sure|of course|we (have|did|do)|i (have|did|do)|true)\b", re.I)
_NO = re.compile(r"\W*(no|nope|not (yet|really|at all)|none|never|false|(we|i) (have ?n.t|did ?n.t|do ?n.t))\b", re.I)
_WHOLE = ("examples", "calls_per_month")
_SHARES = ("baseline", "target", "agreement")
_BARE_WORDS = 6
"""A longer reply without a number before it says in its own words what it answers."""


def replies(text: str, asked: Sequence[str]) -> dict[str, Any]:
    """The fields of a situation that `text` answers; `asked` are the questions as they were put, in their order.

    Numbered parts answer the question of their number, a bare number, yes or no the first one. A part that states its
    field in its own words is read as any text is.
    """
    parts = _numbered(text) or ({1: text} if len(text.split()) <= _BARE_WORDS else {})
    fields = {row.ask: row.field for row in questions()}
    found: dict[str, Any] = {}
    for number, part in parts.items():
        name = fields.get(asked[number - 1]) if number <= len(asked) else None
        if name:
            found |= _reply(name, part)
    if not found and (having := _HAVING.search(text)):
        return {"examples": scaled(having.group(1), having.group(2))}
    return found


def _numbered(text: str) -> dict[int, str]:
    marks = list(_NUMBERED.finditer(text))
    if not marks:
        return {}
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return {int(each.group(1)): text[each.end() : end].strip() for each, end in zip(marks, ends, strict=True)}


def _reply(name: str, part: str) -> dict[str, Any]:
    stated = extract(part).model_dump(exclude_none=True)
    if name in stated:
        return stated
    if name in _WHOLE and (number := _NUMBER.search(part)):
        return {**stated, name: scaled(number.group(1), number.group(2))}
    if name in _WHOLE and _NO.match(part):
        return {**stated, name: 0}
    if name in _SHARES:
        return stated | _shares(name, part)
    if Situation.model_fields[name].annotation == bool | None and (_YES.match(part) or _NO.match(part)):
        return {**stated, name: bool(_YES.match(part))}
    return stated


def _shares(name: str, part: str) -> dict[str, float]:
    """One share for its field; of two the first is today's score and the second the one that is good enough."""
    shares = [value / 100 if value > 1 else value for value in map(float, _SHARE.findall(part)) if value <= 100]
    if name == "baseline" and len(shares) == 2:
        return {"baseline": shares[0], "target": shares[1]}
    return {name: shares[0]} if shares else {}
