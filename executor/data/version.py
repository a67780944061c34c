"""What one version of a dataset is: which files it wrote, from what, with which step and parameters."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from executor.errors import UserError

Step = Literal["source", "format", "clean", "split", "review", "undo"]
ID_LENGTH = 12
"""hexadecimal digits of a version's name; two of a million versions share one with a probability of 0.2 %"""


class File(BaseModel):
    """One file as a version left it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    part: str = ""
    """of a split: `train`, `validation` or `test`; empty where the version is one file"""
    path: str
    """absolute"""
    sha256: str | None
    """of the file's bytes; None: the version left no file here"""
    size: int = 0
    """bytes"""
    rows: int | None = None
    """None: not counted"""
    previous: str | None = None
    """the version whose content the path held before; None: it held none that is known"""

    @property
    def name(self) -> str:
        return Path(self.path).name


class Version(BaseModel):
    """One state of a file, or of the files of a split, and how it came to be."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str = ""
    """the first digits of the SHA-256 of the record itself"""
    step: Step
    path: str
    """absolute; of a split the folder"""
    sha256: str | None
    """of the file's bytes; of a split over the hashes of its parts; None: no file was left"""
    rows: int | None
    """of all parts together; None: not counted"""
    parents: tuple[str, ...] = ()
    """the versions it was made of"""
    parameters: dict[str, Any]
    made_on: str
    """ISO 8601 in UTC, always later than that of its parents and of what its path held before"""
    log: str | None = None
    """absolute path of the file that names every row touched"""
    touched: int = 0
    """lines of the parent that the step changed or left out"""
    lines: tuple[int, ...] = ()
    """the first of those lines, 1-based"""
    files: tuple[File, ...]
    """one, or one for each part of a split"""

    @property
    def parts(self) -> dict[str, File]:
        """The files of a split by the name of their part; empty where the version is one file."""
        return {file.part: file for file in self.files if file.part}

    def file(self, path: str) -> File | None:
        """What the version left at `path` (absolute), if it wrote there."""
        return next((file for file in self.files if file.path == path), None)

    def named(self) -> Version:
        """The same record under the name that its content gives it."""
        return self.model_copy(update={"id": record_hash(self)[:ID_LENGTH]})

    def later(self, than: str) -> Version:
        """The same record, made after the instant `than`, under its new name."""
        return self.model_copy(update={"made_on": after(than, self.made_on)}).named()


def record_hash(version: Version) -> str:
    """SHA-256 of a record without its name: what tells a damaged record."""
    content = version.model_dump(mode="json", exclude={"id"})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def whole_hash(files: tuple[File, ...]) -> str | None:
    """The hash of one file; of several the SHA-256 over `part hash` lines; None where none was left."""
    if len(files) == 1:
        return files[0].sha256
    if all(file.sha256 is None for file in files):
        return None
    lines = "".join(f"{file.part} {file.sha256}\n" for file in sorted(files, key=lambda file: file.part))
    return hashlib.sha256(lines.encode()).hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def after(earlier: str, instant: str) -> str:
    """`instant`, or just after `earlier` where the clock went back."""
    if instant > earlier:
        return instant
    return (datetime.fromisoformat(earlier) + timedelta(microseconds=1)).isoformat(timespec="microseconds")


def absolute(path: Path) -> str:
    """One spelling for each file: links of its folders are followed, a link in its place is not.

    Raises UserError for a name that is no text, since a record could not hold it.
    """
    whole = os.path.join(os.path.realpath(path.parent), path.name)
    try:
        whole.encode()
    except UnicodeEncodeError:
        shown = whole.encode("utf-8", "replace").decode()
        raise UserError("The name of the file is not valid UTF-8", shown, "Rename the file.") from None
    return os.path.normpath(whole)


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a record holds them: JSON values; a path, another object or NaN as its text."""
    text = json.dumps(parameters, ensure_ascii=False, default=str, sort_keys=True)
    # half a surrogate pair, as in a word of the command line that is no UTF-8, cannot be written
    value: dict[str, Any] = json.loads(text.encode("utf-8", "replace"), parse_constant=str)
    return value
