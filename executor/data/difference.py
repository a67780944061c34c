"""What changed between two versions or files: rows added, removed, changed and moved, labels and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from executor.data import matching, row_columns, store
from executor.data import rows as parts
from executor.data.row_columns import Columns, Opened
from executor.data.version import File, Version
from executor.errors import UserError
from executor.report.escape import to_markdown

Row = dict[str, Any]
Read = tuple[Row, Row | None]
"""a row as it stands in its file, and as chat messages"""
EXAMPLES = 5
_LONGEST_TEXT = 200
"""characters of a text that an example shows"""
_LABELS_SHOWN = 12


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Side(_Model):
    name: str
    """the version and its file, or the file"""
    version: str | None
    """None: a file as it lies on disk"""
    path: str
    sha256: str | None
    rows: int
    """that could be read"""
    unreadable: int
    """rows that could not, such as broken JSON; they are not compared"""


class Place(_Model):
    file: str
    """its name"""
    line: int
    """1-based"""


class Example(_Model):
    a: Place | None
    b: Place | None
    question: str | None
    """what was asked, where that is the same in both"""
    before: str | None
    after: str | None
    """the answer where only that changed, else the whole row"""


class Lengths(_Model):
    """Characters a row; 0 where there are no rows."""

    mean: float
    median: float
    p95: float
    longest: int


class LengthChange(_Model):
    a: Lengths
    b: Lengths


class LabelChange(_Model):
    a: dict[str, int]
    b: dict[str, int]
    distance: float
    """total variation distance of the two distributions: half the sum of the differences of shares, 0 to 1"""


class Difference(_Model):
    a: Side
    b: Side
    same: int
    added: int
    """rows that only b has"""
    removed: int
    """rows that only a has"""
    changed: int
    changed_by_place: int
    """of the changed those known by their place alone, since neither name nor question is the same"""
    reordered: int
    """of the same rows those out of order: the fewest whose removal leaves the others in order"""
    across_layouts: bool
    """the layouts differ, so rows were compared by what they ask and answer; system messages are left aside"""
    labels: LabelChange | None
    """None: the answers of neither are a closed set"""
    lengths: dict[str, LengthChange]
    """of `input` and `answer`; of rows that are no supervised examples of the `row` as JSON"""
    examples: dict[str, list[Example]]
    """the first of `added`, `removed`, `changed` and `reordered`"""

    @property
    def identical(self) -> bool:
        return not (self.added or self.removed or self.changed or self.reordered)


def difference(a: Version | Path | str, b: Version | Path | str, examples: int = EXAMPLES) -> Difference:
    """Compare two versions (or their names) or files, row by row, with at most `examples` examples of each kind.

    A changed row is one that asks the same, or has the same name (`id`, `uuid`, `key`), or stands in the same place.
    Both are read as streams; memory is about 150 bytes a row. Raises UserError where one cannot be read.
    """
    with ExitStack() as open_files:
        names, files = zip(*(_open(side, open_files) for side in (a, b)), strict=True)
        across = _across(files[0], files[1])
        one, other = (row_columns.columns_of(side, across) for side in files)
        matched = matching.match(one, other)
        return Difference(
            a=_side(names[0], one),
            b=_side(names[1], other),
            same=len(matched.same[0]),
            added=len(matched.added),
            removed=len(matched.removed),
            changed=len(matched.changed[0]),
            changed_by_place=matched.by_place,
            reordered=len(matched.moved[0]),
            across_layouts=across,
            labels=_labels(one, other),
            lengths=_length_changes(one, other),
            examples=_examples(matched, (one, other), (files[0], files[1]), max(0, examples)),
        )


def _open(side: Version | Path | str, open_files: ExitStack) -> tuple[Side, list[Opened]]:
    if isinstance(side, Path) or (isinstance(side, str) and Path(side).expanduser().is_file()):
        path = Path(side).expanduser()
        opened = row_columns.open_file(path)
        empty = Side(name=path.name, version=None, path=str(path.absolute()), sha256=None, rows=0, unreadable=0)
        return empty, [opened] if opened else []
    version = store.lookup(side) if isinstance(side, str) else side
    files = [file for file in version.files if file.sha256 is not None]
    if not files:
        hint = "Name the version before it, or the one that it undid."
        raise UserError(f"Version {version.id} left no file", version.path, hint)
    name = f"{version.id} ({Path(version.path).name}, {version.step})"
    about = Side(name=name, version=version.id, path=version.path, sha256=version.sha256, rows=0, unreadable=0)
    return about, [opened for file in files if (opened := _open_kept(file, open_files))]


def _open_kept(file: File, open_files: ExitStack) -> Opened | None:
    return row_columns.open_file(open_files.enter_context(store.readable(file)))


def _across(one: Sequence[Opened], other: Sequence[Opened]) -> bool:
    """Whether the files are supervised examples in different layouts."""
    every = [*one, *other]
    layouts = {(opened.shape.name, frozenset(opened.shape.mapping.items())) for opened in every}
    return len(layouts) > 1 and all(opened.build is not None for opened in every)


def _side(side: Side, columns: Columns) -> Side:
    return side.model_copy(update={"rows": len(columns.whole), "unreadable": columns.unreadable})


def _labels(one: Columns, other: Columns) -> LabelChange | None:
    if "label" not in (one.answers.task().kind, other.answers.task().kind):
        return None
    a, b = one.answers.labels, other.answers.labels
    if not (a or not one.answers.rows) or not (b or not other.answers.rows):
        return None
    distance = sum(abs(a[key] / max(1, a.total()) - b[key] / max(1, b.total())) for key in a.keys() | b.keys()) / 2
    return LabelChange(a=dict(sorted(a.items())), b=dict(sorted(b.items())), distance=distance)


def _length_changes(one: Columns, other: Columns) -> dict[str, LengthChange]:
    if not one.answers.rows and not other.answers.rows:
        return {"row": LengthChange(a=_lengths(one.asked), b=_lengths(other.asked))}
    return {
        "input": LengthChange(a=_lengths(one.asked), b=_lengths(other.asked)),
        "answer": LengthChange(a=_lengths(one.answered), b=_lengths(other.answered)),
    }


def _lengths(values: row_columns.Ints) -> Lengths:
    if not len(values):
        return Lengths(mean=0, median=0, p95=0, longest=0)
    median, p95 = np.percentile(values, (50, 95))
    return Lengths(mean=float(values.mean()), median=float(median), p95=float(p95), longest=int(values.max()))


def _examples(
    matched: matching.Matched,
    columns: tuple[Columns, Columns],
    files: tuple[Sequence[Opened], Sequence[Opened]],
    most: int,
) -> dict[str, list[Example]]:
    wanted: dict[str, list[tuple[int | None, int | None]]] = {
        "removed": [(place, None) for place in matched.removed[:most].tolist()],
        "added": [(None, place) for place in matched.added[:most].tolist()],
        "changed": _pairs(matched.changed, most),
        "reordered": _pairs(matched.moved, most),
    }
    every = [pair for pairs in wanted.values() for pair in pairs]
    rows = [_rows_of(side, [place for pair in every if (place := pair[k]) is not None]) for k, side in enumerate(files)]

    def example(kind: str, left: int | None, right: int | None) -> Example:
        before = rows[0].get(left) if left is not None else None
        after = rows[1].get(right) if right is not None else None
        question, words = _words(before, after if kind != "reordered" else None)
        return Example(
            a=_place(columns[0], files[0], left),
            b=_place(columns[1], files[1], right),
            question=question,
            before=words[0],
            after=words[1] if kind != "reordered" else words[0],
        )

    return {kind: [example(kind, *pair) for pair in pairs] for kind, pairs in wanted.items()}


def _rows_of(files: Sequence[Opened], places: Sequence[int]) -> dict[int, Read]:
    return {place: (row, chat) for place, row, chat in row_columns.rows_at(files, places)}


def _pairs(pair: tuple[row_columns.Ints, row_columns.Ints], most: int) -> list[tuple[int | None, int | None]]:
    return list(zip(pair[0][:most].tolist(), pair[1][:most].tolist(), strict=True))


def _place(columns: Columns, files: Sequence[Opened], place: int | None) -> Place | None:
    if place is None:
        return None
    return Place(file=files[int(columns.files[place])].source.path.name, line=int(columns.lines[place]))


def _words(before: Read | None, after: Read | None) -> tuple[str | None, tuple[str | None, str | None]]:
    """(the common question, (text before, text after))."""
    chats = [each[1] for each in (before, after) if each is not None]
    asked = {parts.asked(chat) for chat in chats if chat is not None}
    answers = [parts.answer(chat) for chat in chats if chat is not None]
    if len(asked) == 1 and len(answers) == len(chats) and (len(chats) == 1 or answers[0] != answers[1]):
        texts = iter(answers)
        shown = (next(texts) if before else None, next(texts) if after else None)
        return _short(next(iter(asked))), (_cut(shown[0]), _cut(shown[1]))
    whole = [row_columns.canonical(each[0]).decode("utf-8", "replace") if each else None for each in (before, after)]
    return None, (_cut(whole[0]), _cut(whole[1]))


def _cut(text: str | None) -> str | None:
    return None if text is None else _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def render(found: Difference) -> str:
    """The difference as Markdown for a person; it leads with the answer."""
    blocks = [_headline(found), *_notes(found)]
    for kind in ("removed", "added", "changed", "reordered"):
        listed, total = found.examples.get(kind, []), getattr(found, kind)
        if listed:
            more = [f"- and {total - len(listed)} more"] if total > len(listed) else []
            blocks.append("\n".join([f"**{kind.capitalize()}**", "", *map(_line, listed), *more]))
    if found.labels is not None:
        blocks += _label_table(found.labels)
    return "\n\n".join([*blocks, _length_table(found)])


def _headline(found: Difference) -> str:
    a, b = to_markdown(found.a.name), to_markdown(found.b.name)
    if found.identical:
        return f"**No difference**: {a} and {b} hold the same {_rows(found.same)} in the same order."
    kinds = ("removed", "added", "changed", "reordered")
    said = ", ".join(f"{getattr(found, kind):,} {kind}" for kind in kinds if getattr(found, kind))
    return f"**{said}**, {found.same:,} the same: from {a} ({_rows(found.a.rows)}) to {b} ({_rows(found.b.rows)})."


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _notes(found: Difference) -> Iterator[str]:
    if found.across_layouts:
        yield "The layouts differ, so rows were compared by what they ask and answer; system messages were left aside."
    if found.changed_by_place:
        yield f"{found.changed_by_place:,} of the changed rows are known by their place alone."
    for side in (found.a, found.b):
        if side.unreadable:
            yield f"{_rows(side.unreadable)} of {to_markdown(side.name)} could not be read and were not compared."


def _line(example: Example) -> str:
    where = " → ".join(f"{to_markdown(place.file)}:{place.line}" for place in (example.a, example.b) if place)
    question = f" {to_markdown(example.question)}:" if example.question else ""
    texts = [example.before, example.after if example.after != example.before else None]
    return f"- {where}{question} " + " → ".join(f"“{to_markdown(text)}”" for text in texts if text is not None)


def _label_table(labels: LabelChange) -> list[str]:
    names = sorted(labels.a.keys() | labels.b.keys())
    moved = [name for name in names if labels.a.get(name, 0) != labels.b.get(name, 0)]
    if not moved:
        return ["Labels: no change."]
    moved.sort(key=lambda name: (-abs(labels.b.get(name, 0) - labels.a.get(name, 0)), name))
    lines = [f"| {to_markdown(n)} | {labels.a.get(n, 0):,} | {labels.b.get(n, 0):,} |" for n in moved[:_LABELS_SHOWN]]
    more = f" The {_LABELS_SHOWN} that changed most of {len(moved)}:" if len(moved) > _LABELS_SHOWN else ""
    head = f"Labels: {labels.distance:.1%} of the distribution moved.{more}"
    return [head, "\n".join(["| label | before | after |", "|---|---:|---:|", *lines])]


def _length_table(found: Difference) -> str:
    lines = ["| characters | mean | median | 95 % below | longest |", "|---|---:|---:|---:|---:|"]
    for name, change in found.lengths.items():
        for when, each in (("before", change.a), ("after", change.b)):
            lines.append(f"| {name}, {when} | {each.mean:.1f} | {each.median:.0f} | {each.p95:.0f} | {each.longest} |")
    return "\n".join(lines)
