"""Rows that two files share, however they are laid out, ordered, spelled or spaced: what must not be in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executor.data import store
from executor.data.convert import built_row, row_builder
from executor.data.preference import pair_of
from executor.data.read import open_source
from executor.data.rows import answer, asked, system
from executor.data.shape import detect_source
from executor.data.similar import normalised
from executor.data.version import Version
from executor.errors import UserError

TELLING = 24
"""letters and digits of a question from which it tells a row without its answer; a shorter one may occur anywhere"""


def row_key(row: dict[str, Any], lead: bool = False) -> bytes:
    """Equal for rows that ask the same, letters and digits alone compared; of short questions the answer counts too.

    `lead`: rows under different system messages are different.
    """
    question = normalised(asked(row))
    told = [question, "" if len(question) >= TELLING else normalised(answer(row)), system(row) if lead else ""]
    return hashlib.sha256("\0".join(told).encode("utf-8", "replace")).digest()[:16]


def row_keys(path: Path, lead: bool = False) -> Iterator[tuple[int, bytes]]:
    """(line, key) of every usable row of a file in any layout. Raises UserError where it has none to train on."""
    source = open_source(path)
    shape = detect_source(source)
    build = pair_of if shape.name == "preference" else row_builder(source.path, source.columns, shape)
    for record in source.records():
        built = built_row(record, build) if record.row is not None else None
        if built is not None and built.row is not None:
            yield built.line, row_key(built.row, lead)


def shared_lines(path: Path, other: Path, lead: bool = False) -> list[int]:
    """The lines of `path` whose rows occur in `other`. Raises UserError where one cannot be read."""
    known = {key for _, key in row_keys(other, lead)}
    return [line for line, key in row_keys(path, lead) if key in known]


def sealed_lines(path: Path, sha256: str) -> tuple[Version, list[int]] | None:
    """A split of this workspace whose sealed test rows stand in `path`, and the lines; None where there is none.

    A split that was made anew at the same place is past. Where the file is a part of a split, that split alone counts:
    another split of the same rows seals others. A damaged record or copy is for `data history` to report.
    """
    try:
        versions = store.all_versions()
    except UserError:
        return None
    splits = [
        each for each in versions if "test" in each.parts and store.latest_at(each.parts["test"].path, versions) == each
    ]
    own = [each for each in splits if any(part.sha256 == sha256 for part in each.parts.values())]
    for version in reversed(own or splits):
        try:
            with store.readable(version.parts["test"]) as test:
                lines = shared_lines(path, test)
        except UserError:
            continue
        if lines:
            return version, lines
    return None
