"""The form that answers must have: a label of a set, JSON under a schema, a pattern, a length; given or inferred."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from executor.evaluate.reading import calls_in, number_in, parse_json
from executor.spec import DataSpec, FormSpec

LEAST = 20
"""answers from which on a pattern is the set's own"""
MOST_PATTERNS = 3
LONGEST_CODE = 40
"""characters; a longer answer is no code, date or number"""
_CLASSES = ((str.isdigit, r"\d"), (str.isupper, "[A-Z]"), (str.islower, "[a-z]"))
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"),
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A rule for the form of an answer, in words and as a test."""

    says: str
    holds: Callable[[str], bool]


def form_of(given: FormSpec | None, data: DataSpec, answers: Sequence[str], whose: str = "training") -> Form:
    """The form that the user gave, else what the training answers have in common; `whose`: where there are none."""
    if given is not None and given.json_schema is not None:
        return under_schema(given.json_schema, "JSON under the schema that was given")
    if given is not None and given.regex is not None:
        return matching([given.regex], f"the pattern that was given: {given.regex}")
    if all(calls_in(answer) is not None for answer in answers):
        return Form("tool calls and nothing else", lambda text: calls_in(text) is not None)
    if data.kind == "label":
        labels = frozenset(data.labels)
        return Form(f"one of the {len(labels)} labels and nothing else", lambda text: text in labels)
    if data.kind == "json":
        return under_schema(inferred_schema(answers), f"a JSON object with the keys and types of the {whose} answers")
    if patterns := inferred_patterns(answers):
        return matching(patterns, f"the pattern of the {whose} answers: {' or '.join(patterns)}")
    if all(number_in(answer) is not None and len(answer.split()) <= 2 for answer in answers):
        return Form("a number and nothing else", lambda text: number_in(text) is not None and len(text.split()) <= 2)
    return of_length(answers, whose)


def of_length(answers: Sequence[str], whose: str = "training") -> Form:
    """Not empty, at most twice the longest of these answers, and on one line where all of those are."""
    longest = 2 * max(map(len, answers))
    one_line = all("\n" not in answer.strip() for answer in answers) and len(answers) >= LEAST
    says = f"at most {longest} characters (twice the longest {whose} answer)" + (", on one line" if one_line else "")
    return Form(says, lambda text: 0 < len(text) <= longest and not (one_line and "\n" in text))


def under_schema(schema: dict[str, Any], says: str) -> Form:
    # An empty registry: a reference to another document is an error, never a request.
    validator = Draft202012Validator(schema, registry=Registry())

    def holds(text: str) -> bool:
        value = parse_json(text)
        return value is not None and validator.is_valid(value)

    return Form(says, holds)


def matching(patterns: Sequence[str], says: str) -> Form:
    compiled = [re.compile(pattern) for pattern in patterns]
    return Form(says, lambda text: any(each.fullmatch(text) for each in compiled))


def inferred_schema(answers: Sequence[str]) -> dict[str, Any]:
    """A JSON schema that every training answer fulfils; keys that all have are required, others are not allowed."""
    return schema_of([value for value in map(parse_json, answers) if isinstance(value, dict)])


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """What these values have in common: types; of objects the keys; of lists the entries."""
    types = sorted({_type(value) for value in values})
    if "number" in types and "integer" in types:
        types.remove("integer")
    schema: dict[str, Any] = {"type": types[0] if len(types) == 1 else types} if types else {}
    if objects := [value for value in values if isinstance(value, dict)]:
        keys = list(dict.fromkeys(key for value in objects for key in value))
        schema["properties"] = {key: schema_of([value[key] for value in objects if key in value]) for key in keys}
        schema["required"] = [key for key in keys if all(key in value for value in objects)]
        schema["additionalProperties"] = False
    if entries := [entry for value in values if isinstance(value, list) for entry in value]:
        schema["items"] = schema_of(entries)
    return schema


def _type(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def inferred_patterns(answers: Sequence[str]) -> list[str]:
    """At most a few patterns that every answer matches, where they are codes, dates or the like; else none.

    Runs of digits, capitals and small letters are classes, everything else stands for itself; answers of one sequence
    of classes share a pattern, whose runs are as long as theirs.
    """
    texts = [answer.strip() for answer in answers]
    if len(texts) < LEAST or not all(map(_is_code, texts)):
        return []
    shapes: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for text in texts:
        runs = [(_class(kind, text[0]), len(text)) for kind, text in _runs(text)]
        names, sizes = tuple(name for name, _ in runs), [size for _, size in runs]
        if len(shapes) > MOST_PATTERNS:
            return []
        known = shapes.setdefault(names, [(size, size) for size in sizes])
        shapes[names] = [(min(low, size), max(high, size)) for (low, high), size in zip(known, sizes, strict=True)]
    if len(shapes) > MOST_PATTERNS:
        return []
    return ["".join(map(_repeated, names, sizes)) for names, sizes in shapes.items()]


def _is_code(text: str) -> bool:
    return len(text) <= LONGEST_CODE and any(map(str.isdigit, text)) and not any(map(str.isspace, text))


def _runs(text: str) -> Iterable[tuple[int | str, str]]:
    def kind(each: str) -> int | str:
        return next((place for place, (test, _) in enumerate(_CLASSES) if each.isascii() and test(each)), each)

    return [(key, "".join(run)) for key, run in groupby(text, kind)]


@cache
def _class(kind: int | str, character: str) -> str:
    return _CLASSES[kind][1] if isinstance(kind, int) else re.escape(character)


def _repeated(name: str, size: tuple[int, int]) -> str:
    low, high = size
    if low == high:
        return name if low == 1 else f"{name}{{{low}}}"
    return f"{name}{{{low},{high}}}"
