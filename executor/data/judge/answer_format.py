"""Answers that are not written in the set's own format: JSON with the same keys, numbers, lists, one line of text."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from typing import Any

import msgspec
import numpy as np

from executor.data.batch import Batch
from executor.data.judge.facts import Texts, facts
from executor.data.judge.held import percent, snippet
from executor.data.problem import Problem, warning

_LEAST = 20
"""rows from which on a format is the set's own"""
_MOST = 0.95
"""share of the rows that make a format the set's own"""
_STRICT = 0.98
"""the same for formats that ordinary text varies in: one line, one sentence"""
_STRICT_LEAST = 50
_RARE_KEY = 0.02
"""share of rows up to which a key is one that others lack"""
_SHAPES = 5000
"""different sets of keys and types that are told apart; a set with more has no fixed keys"""
_LABELS = 500

CALL, OBJECT, ARRAY, ENCODED, XML, CODE, NUMBER, LIST, SENTENCE, LINE, LINES = range(11)
_NAMES = {
    OBJECT: "a JSON object",
    ARRAY: "a JSON list",
    ENCODED: "JSON inside a string",
    XML: "XML",
    CODE: "a block of code",
    NUMBER: "a number",
    LIST: "a list",
    SENTENCE: "one sentence",
    LINE: "one line of text",
    LINES: "several lines of text",
}
_FIXED = (OBJECT, ARRAY, XML, CODE, NUMBER, LIST)
_ONE_LINE = (SENTENCE, LINE, NUMBER)
_NUMBER = re.compile(r"[-+−]?\s?[$€£]?\d[\d,. ]*(?:[eE][-+]?\d+)?\s?[%€]?$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_XML = re.compile(r"<([A-Za-z_][\w.:-]*)(?:\s[^<>]*)?>.*</\1>$|<[A-Za-z_][\w.:-]*(?:\s[^<>]*)?/>$", re.DOTALL)
_HTML = frozenset({"p", "b", "i", "u", "a", "em", "strong", "span", "div", "li", "ul", "ol", "br", "h1", "h2", "h3"})
"""markup of text, which is a leftover rather than a format"""
_SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z\u00c0-\u00de\u0400-\u042f])|[。！？](?=.)")
_FIX = "Write the answer in the set's format, or remove the row."
_KEYS_FIX = "Give every answer the same keys, with null where nothing is known."


class AnswerFormat:
    """The format that nearly all answers share, and the rows that leave it."""

    def __init__(self) -> None:
        self._kinds = array("b")
        self._lines = array("q")
        self._shapes: dict[tuple[tuple[str, str], ...], int] = {}
        self._shape_of = array("i")
        """for each JSON object the number of its keys and types, in the order of the rows"""
        self._object_lines = array("q")
        self._different: set[int] = set()
        """hashes of the answers, as long as they may be a closed set of labels"""

    def add(self, batch: Batch) -> list[Problem]:
        answers = facts(batch).answers
        if len(self._different) <= _LABELS:
            self._different.update(map(hash, answers.texts))
        kinds, shapes = self._described(answers)
        lines = facts(batch).lines
        column = np.array(kinds, dtype=np.int8)[answers.places]
        self._kinds.frombytes(column.tobytes())
        self._lines.frombytes(lines.tobytes())
        objects = column == OBJECT
        if objects.any():
            self._shape_of.frombytes(np.array(shapes, dtype=np.int32)[answers.places[objects]].tobytes())
            self._object_lines.frombytes(lines[objects].tobytes())
        return []

    def finish(self) -> list[Problem]:
        kinds = np.frombuffer(self._kinds, np.int8)
        counts = np.bincount(kinds, minlength=LINES + 1)
        found = self._double_encoded(kinds)
        n = int(counts.sum() - counts[CALL])
        if n < _LEAST:
            return found
        kind = next((each for each in _FIXED if counts[each] >= _MOST * n), None)
        if kind is not None:
            off = (kinds != kind) & (kinds != CALL) & (kinds != ENCODED)
            found += self._off(kinds, off, _NAMES[kind], int(counts[kind]), n)
        elif len(self._different) > _LABELS or len(self._different) > n / 2:
            found += self._off_text(kinds, counts, n)
        if kind == OBJECT and len(self._shapes) <= _SHAPES:
            found += self._keys() + self._types()
        return found

    def _described(self, answers: Texts) -> tuple[list[int], list[int]]:
        """The kind of each answer and the number of its keys and types (-1 where it is no JSON object)."""
        kinds, shapes = [], []
        many = (answers.screen.count(".!?") + answers.screen.non_ascii >= 3).tolist()
        for text, several in zip(answers.texts, many, strict=True):
            shape = -1
            if text[:1] in _PLAIN_START:
                kind = _text_kind(text, several)
            else:
                kind, value = _kind(text, several)
                if kind == OBJECT:
                    key = tuple(sorted((name, _TYPES.get(type(each), "text")) for name, each in value.items()))
                    room = len(self._shapes) <= _SHAPES
                    shape = self._shapes.setdefault(key, len(self._shapes)) if room else self._shapes.get(key, -1)
            kinds.append(kind)
            shapes.append(shape)
        return kinds, shapes

    def _double_encoded(self, kinds: np.ndarray[Any, np.dtype[np.int8]]) -> list[Problem]:
        message = "the answer is JSON inside a string; the model would learn to write it so"
        places = np.flatnonzero(kinds == ENCODED).tolist()
        fix = "Decode the answer once."
        return [warning("double_encoded_answer", message, fix, self._lines[place], "assistant") for place in places]

    def _off(
        self,
        kinds: np.ndarray[Any, np.dtype[np.int8]],
        off: np.ndarray[Any, np.dtype[np.bool_]],
        name: str,
        of: int,
        n: int,
    ) -> list[Problem]:
        share = percent(of, n)
        found = []
        for place in np.flatnonzero(off).tolist():
            message = f"the answer is {_NAMES[int(kinds[place])]}; {share} of the {n} answers are {name}"
            found.append(warning("off_format", message, _FIX, self._lines[place], "assistant"))
        return found

    def _off_text(
        self, kinds: np.ndarray[Any, np.dtype[np.int8]], counts: np.ndarray[Any, np.dtype[np.int64]], n: int
    ) -> list[Problem]:
        line = int(counts[list(_ONE_LINE)].sum())
        if line < _MOST * n:
            return []
        odd = np.isin(kinds, (OBJECT, ARRAY, XML, CODE, LIST))
        if line >= _STRICT * n and n >= _STRICT_LEAST:
            odd |= kinds == LINES
        found = self._off(kinds, odd, _NAMES[LINE], line, n)
        if counts[SENTENCE] >= _STRICT * n and n >= _STRICT_LEAST:
            found += self._off(kinds, kinds == LINE, _NAMES[SENTENCE], int(counts[SENTENCE]), n)
        return found

    def _keys(self) -> list[Problem]:
        """Keys that nearly every answer has and one lacks, and keys that hardly any other has."""
        rows = np.bincount(np.frombuffer(self._shape_of, np.int32), minlength=len(self._shapes))
        n = int(rows.sum())
        counts: Counter[str] = Counter()
        for shape, number in self._shapes.items():
            for name in {name for name, _ in shape}:
                counts[name] += int(rows[number])
        usual = {name for name, times in counts.items() if times >= _MOST * n}
        fixed = (
            int(sum(rows[i] for shape, i in self._shapes.items() if {name for name, _ in shape} == usual)) >= _MOST * n
        )
        known = {name: name for name in usual}
        known.update({name.casefold().strip().replace("-", "_"): name for name in usual})
        notes: dict[int, str] = {}
        for shape, number in self._shapes.items():
            names = {name for name, _ in shape}
            missing = sorted(usual - names)
            rare = sorted(name for name in names if counts[name] <= _RARE_KEY * n)
            strange = [name for name in rare if fixed or _spelled_alike(name, known)]
            if missing or strange:
                parts = [
                    f'lacks the key "{snippet(name)}", which {percent(counts[name], n)} have' for name in missing[:3]
                ]
                parts += [f'has the key "{snippet(name)}", which {counts[name]} of {n} have' for name in strange[:3]]
                notes[number] = "the JSON answer " + ", and ".join(parts)
        return self._named("off_format_keys", notes, _KEYS_FIX)

    def _types(self) -> list[Problem]:
        """Values of another type than the same key has elsewhere; null is none."""
        rows = np.bincount(np.frombuffer(self._shape_of, np.int32), minlength=len(self._shapes))
        types: dict[str, Counter[str]] = {}
        for shape, number in self._shapes.items():
            for name, kind in shape:
                if kind != "null":
                    types.setdefault(name, Counter())[kind] += int(rows[number])
        usual: dict[str, tuple[str, int, int]] = {}
        for name, kinds in types.items():
            (kind, times), n = kinds.most_common(1)[0], kinds.total()
            if n >= _LEAST and times >= _MOST * n:
                usual[name] = (kind, times, n)
        notes = {}
        for shape, number in self._shapes.items():
            odd = [(name, kind) for name, kind in shape if name in usual and kind not in (usual[name][0], "null")]
            if odd:
                name, kind = odd[0]
                share = percent(usual[name][1], usual[name][2])
                rule = f"in {share} of the answers it is {_A[usual[name][0]]}"
                notes[number] = f'the value of "{snippet(name)}" is {_A[kind]}; {rule}'
        return self._named("off_format_types", notes, "Write the value as in the other answers.")

    def _named(self, code: str, notes: dict[int, str], fix: str) -> list[Problem]:
        places = zip(self._shape_of, self._object_lines, strict=True)
        return [warning(code, notes[shape], fix, line, "assistant") for shape, line in places if shape in notes]


_TYPES: dict[type, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "list",
    dict: "object",
    type(None): "null",
}
_A = {"text": "text", "number": "a number", "boolean": "true or false", "list": "a list", "object": "an object"}
_PLAIN_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _spelled_alike(name: str, known: dict[str, str]) -> bool:
    """Whether a rare key is a usual one but for casing, spaces and hyphens."""
    return name not in known and name.casefold().strip().replace("-", "_").replace(" ", "_") in known


def _kind(text: str, several: bool) -> tuple[int, Any]:
    first = text[:1]
    if first in '{["':
        value = _parsed(text)
        if isinstance(value, dict):
            return OBJECT, value
        if isinstance(value, list):
            called = value and all(isinstance(each, dict) and "function" in each for each in value)
            return (CALL if called else ARRAY), value
        inner = value if isinstance(value, str) else text.replace('\\"', '"') if '\\"' in text else ""
        if inner[:1] in ("{", "[") and isinstance(_parsed(inner), dict | list):
            return ENCODED, None
    if first == "<" and (found := _XML.match(text)) and (found.group(1) or "").lower() not in _HTML:
        return XML, None
    if first == "`" and text.startswith("```") and text.endswith("```"):
        return CODE, None
    if _NUMBER.match(text):
        return NUMBER, None
    if "\n" in text and all(_ITEM.match(line) for line in text.split("\n") if line.strip()):
        return LIST, None
    return _text_kind(text, several), None


def _text_kind(text: str, several: bool) -> int:
    if "\n" in text:
        return LINES
    # an abbreviation in a sentence looks like an end of one: two of them are needed
    return LINE if several and len(_SENTENCE_END.findall(text)) >= 2 else SENTENCE


def _parsed(text: str) -> Any:
    """The JSON value, or None."""
    try:
        return msgspec.json.decode(text)  # several times as fast as the standard library
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
