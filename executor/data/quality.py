"""Judgements on well-formed rows: duplicates, contradictions, labels, leftovers, personal data, broken text."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from executor.data import labels, similar
from executor.data import rows as parts
from executor.data.problem import Problem, warning
from executor.data.structure import plain_text
from executor.data.task import describe

Row = dict[str, Any]
_IMBALANCE = 10
"""times the rarest label that the commonest may occur"""
_LOOPING = 0.05
"""compressed size over size of a text that repeats itself; prose compresses to about 0.4"""
_LONG = 1000
_SNIPPET = 60
_PLACEHOLDER = re.compile(
    r"\{\{[\w .-]{1,60}\}\}|\[(?:insert|your|todo)\b[^\]]{0,80}\]"
    r"|<(?:insert|your|placeholder)\b[^>]{0,80}>|\blorem ipsum\b",
    re.IGNORECASE,
)
_BLANK_WORDS = frozenset({"nan", "null", "none", "n/a", "na", "tbd", "todo", "xxx", "-", "?", "…"})
_EMAIL = re.compile(r"[\w+-][\w.+-]{0,63}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\.[A-Za-z]{2,24}\b")
_PHONE = re.compile(r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){2,4}(?![\w-])")
_DATE = re.compile(r"^(?:\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-]\d{4})\b")
_MOJIBAKE = re.compile(
    "\u00c3[\u0080-\u00bf]|\u00c2[\u00a0-\u00bf]|\u00e2\u20ac[\u0080-\u00bf\u0153\u201d\u2122\u02dc]"
    "|\ufffd|\u00ef\u00bb\u00bf"
)
"""UTF-8 read as Windows-1252 (an accented letter, a typographic quote), and the replacement character"""


def quality_problems(rows: Sequence[Row], lines: Sequence[int]) -> list[Problem]:
    """Every warning about well-formed `{"messages": …}` rows; `lines` are their lines in the file."""
    found = [problem for row, line in zip(rows, lines, strict=True) for problem in _content(row, line)]
    return [*found, *_repeats(rows, lines), *_conflicts(rows, lines), *_label_problems(rows, lines)]


def _content(row: Row, line: int) -> Iterator[Problem]:
    for turn in row["messages"]:
        text, role = plain_text(turn.get("content")), str(turn.get("role"))
        if not text:
            continue
        if text.strip().casefold() in _BLANK_WORDS:
            yield warning("placeholder", f'the text is only "{text.strip()}"', "Fill it or remove the row.", line, role)
        elif match := _PLACEHOLDER.search(text):
            message = f"a placeholder was left unfilled: {_snippet(match.group())}"
            yield warning("placeholder", message, "Fill it or remove the row.", line, role)
        if _MOJIBAKE.search(text):
            message = "characters look decoded in the wrong encoding"
            yield warning("mojibake", message, "Export the data again as UTF-8.", line, role)
        if len(text) > _LONG and len(zlib.compress(text.encode())) < _LOOPING * len(text.encode()):
            yield warning("repetition", "the text repeats itself over and over", "Remove the row.", line, role)
        yield from _personal(text, role, line)


def _personal(text: str, role: str, line: int) -> Iterator[Problem]:
    fix = "Replace it by a neutral stand-in; a tuned model can repeat what it saw."
    if "@" in text and _EMAIL.search(text):
        yield warning("pii_email", "holds an e-mail address", fix, line, role)
    if any(_is_phone(match.group()) for match in _PHONE.finditer(text)):
        yield warning("pii_phone", "holds what looks like a phone number", fix, line, role)


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return 8 <= digits <= 15 and not _DATE.match(text)


def _repeats(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Problem]:
    exact = parts.grouped(parts.whole_key(row) for row in rows)
    for places in exact.values():
        for place in places[1:]:
            message = f"the same row as line {lines[places[0]]}"
            yield warning("exact_duplicate", message, "Keep one of them.", lines[place])
    firsts = [places[0] for places in exact.values()]
    cluster = similar.clusters([parts.asked(rows[place]) for place in firsts])
    for members in parts.grouped(map(str, cluster)).values():
        first = firsts[members[0]]
        for member in members[1:]:
            place = firsts[member]
            if parts.question_key(rows[place]) == parts.question_key(rows[first]) and _differ(rows[place], rows[first]):
                continue
            message = f"nearly the same input as line {lines[first]}: {_snippet(parts.asked(rows[place]))}"
            fix = "Keep one of them, or keep both on the same side of the split."
            yield warning("near_duplicate", message, fix, lines[place], "user")


def _differ(one: Row, other: Row) -> bool:
    return labels.key(parts.answer(one)) != labels.key(parts.answer(other))


def _conflicts(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Problem]:
    for places in conflicts(rows):
        answers = dict.fromkeys(_snippet(parts.answer(rows[place])) for place in places)
        where = ", ".join(str(lines[place]) for place in places[:5])
        for place in places:
            message = f"the same input has different answers (lines {where}): {' / '.join(list(answers)[:3])}"
            fix = "Decide which answer is right and remove the others."
            yield warning("conflicting_answers", message, fix, lines[place], "assistant")


def conflicts(rows: Sequence[Row]) -> list[list[int]]:
    """Positions of rows that ask the same and answer differently (spellings of one label do not differ)."""
    groups = parts.grouped(parts.question_key(row) for row in rows).values()
    return [group for group in groups if len({labels.key(parts.answer(rows[place])) for place in group}) > 1]


def _label_problems(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Problem]:
    if not rows or describe(rows).kind != "label":
        return
    answers = [_raw_answer(row) for row in rows]
    spellings = labels.spellings(answers)
    counts = Counter(spellings.get(label, label) for label in answers)
    errors = labels.typing_errors(counts)
    for label, line in zip(answers, lines, strict=True):
        better = spellings.get(label) or errors.get(label)
        if better:
            message = f'"{_snippet(label)}" looks like another spelling of "{_snippet(better)}"'
            yield warning("label_variant", message, "Use one spelling.", line, "assistant")
    most, n_most = counts.most_common(1)[0]
    least, n_least = min(counts.items(), key=lambda item: (item[1], item[0]))
    if n_most >= _IMBALANCE * n_least:
        message = f'"{_snippet(most)}" occurs {n_most} times, "{_snippet(least)}" {n_least}'
        fix = "Add rows of the rare labels, or remove those labels."
        yield warning("class_imbalance", message, fix, field="assistant")


def _raw_answer(row: Row) -> str:
    """The last reply with the spaces around it, which `answer` strips."""
    turn = next(turn for turn in reversed(row["messages"]) if turn.get("role") == "assistant")
    return plain_text(turn.get("content")) or parts.answer(row)


def _snippet(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SNIPPET else text[: _SNIPPET - 1] + "…"
