"""Versions of datasets: each is a record of its own, written last, beside the contents it speaks of.

`datasets/objects` holds contents, `datasets/versions` one JSON file a version, `datasets/columns` what was measured of
each row. Nothing there is ever changed or removed, so several processes can write at once.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from executor.data.objects import Objects, digest_of
from executor.data.version import ID_LENGTH, File, Step, Version, absolute, now, plain, record_hash, whole_hash
from executor.errors import UserError, nearest
from executor.files import cannot_write, replacing, write_jsonl, write_text
from executor.home import workspace

LARGEST_COPY = 1 << 30
"""bytes; of a larger file of the user's only the hash is kept"""
_MOST_LINES = 1000
"""touched lines that a record lists; the log names all"""
_SHORTEST = 4
"""digits of a version that are looked up"""
_LISTED = 5


def datasets_folder() -> Path:
    return workspace() / "datasets"


def objects() -> Objects:
    return Objects(datasets_folder() / "objects")


def record(
    path: Path,
    step: Step,
    parameters: Mapping[str, Any] | None = None,
    parents: Sequence[Version] = (),
    rows: int | None = None,
    *,
    log: Path | None = None,
    lines: Sequence[int] = (),
    parts: Mapping[str, tuple[Path, int]] | None = None,
) -> Version:
    """Keep what a step wrote to `path`, and how it was made, as a new version.

    `path` is the file, or the folder where `parts` names the file and rows of each part of a split. `parents` are the
    versions it was made of, `lines` the lines of the first parent that were changed or left out, `log` a file with
    the whole of it. Call `ensure_source(path)` before a step overwrites a file, or what it held cannot be brought
    back. Raises UserError where a file cannot be read, or the store not be written; then there is no new version.
    """
    written: Mapping[str, tuple[Path, int | None]] = {**parts} if parts else {"": (path, rows)}
    files = tuple(_kept(name, file, count, largest=None) for name, (file, count) in written.items())
    return add(path, step, files, parameters, parents, log=log, lines=lines)


def ensure_source(path: Path, rows: int | None = None, largest: int | None = LARGEST_COPY) -> Version:
    """The version that `path` holds now; where there is none, a new one of the step `source`.

    A file of more than `largest` bytes is known by its hash alone (None: always kept). A file with the same bytes as
    an older version has that one as parent, so that a copied file keeps its lineage. Raises UserError as `record`.
    """
    where = absolute(path)
    versions = all_versions()
    file = _kept("", path, rows, largest)
    latest = latest_at(where, versions)
    held = latest.file(where) if latest else None
    if latest is not None and held is not None and held.sha256 == file.sha256:
        return latest
    same = [version for version in versions if any(each.sha256 == file.sha256 for each in version.files)]
    return add(path, "source", (file,), parents=same[-1:] if file.size else [])


def add(
    path: Path,
    step: Step,
    files: tuple[File, ...],
    parameters: Mapping[str, Any] | None = None,
    parents: Sequence[Version] = (),
    *,
    log: Path | None = None,
    lines: Sequence[int] = (),
) -> Version:
    """Write the record of files whose contents are kept. Raises UserError where it cannot be written."""
    versions = all_versions()
    found = {file.path: latest_at(file.path, versions) for file in files}
    linked = [*parents, *(version for version in found.values() if version)]
    files = tuple(file.model_copy(update={"previous": _id(found[file.path])}) for file in files)
    counted = [file.rows for file in files if file.rows is not None]
    made = Version(
        step=step,
        path=absolute(path),
        sha256=whole_hash(files),
        rows=sum(counted) if len(counted) == len(files) else None,
        parents=tuple(dict.fromkeys(parent.id for parent in parents)),
        parameters=plain(parameters or {}),
        made_on=now(),
        log=absolute(log) if log else None,
        touched=len(lines),
        lines=tuple(lines[:_MOST_LINES]),
        files=files,
    )
    return _write(made.later(max((version.made_on for version in linked), default="")))


def all_versions() -> list[Version]:
    """Every version of the workspace, the newest last. Raises UserError where a record is damaged."""
    folder = datasets_folder() / "versions"
    if not folder.is_dir():
        return []
    return sorted(map(_read, folder.glob("*.json")), key=lambda version: (version.made_on, version.id))


def get(version_id: str) -> Version:
    """The version of this full name. Raises UserError where its record is missing or damaged."""
    return _read(_record_file(version_id))


def latest_at(path: str, versions: Sequence[Version]) -> Version | None:
    """The last of `versions` (newest last) that wrote to `path` (absolute)."""
    return next((version for version in reversed(versions) if version.file(path)), None)


def sealed_test(sha256: str) -> Version | None:
    """The last split whose test part is the file with this hash."""
    splits = [version for version in all_versions() if "test" in version.parts]
    return next((each for each in reversed(splits) if each.parts["test"].sha256 == sha256), None)


def lookup(name: str | Path) -> Version:
    """A version by its name, the beginning of its name, or the path of a file or split folder it wrote last.

    Raises UserError where none or several fit.
    """
    word = str(name).strip()
    versions = all_versions()
    fitting = [version for version in versions if len(word) >= _SHORTEST and version.id.startswith(word.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        shown = ", ".join(version.id for version in fitting[:_LISTED])
        raise UserError(f'"{word}" fits {len(fitting)} versions', shown, "Give more of the name.")
    where = absolute(Path(word).expanduser()) if word else ""
    at = [version for version in versions if version.path == where or version.file(where)]
    if at:
        return at[-1]
    known = [*(version.id for version in versions), *(file.path for version in versions for file in version.files)]
    short = {Path(path).name: path for path in known}
    hint = nearest(word, short) or nearest(where, known) or "`finetune data history` lists the versions."
    raise UserError(f'There is no version "{word}"', str(datasets_folder()), hint)


def content(file: File) -> Iterator[bytes]:
    """The bytes of a version's file, block by block; where no copy was kept, from the file itself if unchanged.

    Raises UserError where they are not to be had, or, at the latest after the last block, where the copy is damaged.
    """
    if file.sha256 is None:
        raise UserError(f"This version left no file {file.name}", file.path, "Name the version before it.")
    if objects().holds(file.sha256):
        return objects().blocks(file.sha256)
    if _is_still(file):
        return _blocks(Path(file.path))
    if file.size > LARGEST_COPY:
        what = f"{file.name} was too large to be copied ({file.size} bytes), and the file itself has changed or is gone"
        raise UserError(what, file.path, "Bring the original back from a copy of your own.")
    return objects().blocks(file.sha256)


@contextmanager
def readable(file: File) -> Iterator[Path]:
    """A path with the content of a version's file: the file itself while it is unchanged, else a temporary copy."""
    if file.sha256 is not None and _is_still(file):
        yield Path(file.path)
        return
    blocks = content(file)
    folder = datasets_folder() / "temporary" / f"{os.getpid()}-{secrets.token_hex(4)}"
    copy = folder / file.name
    try:
        write_blocks(copy, blocks)
        yield copy
    finally:
        copy.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as out:
        for block in blocks:
            out.write(block)


def attach(version: Version, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Keep one JSON line for each row of a version, such as its difficulty, under a name; the file's path.

    An older column of this name is replaced. Raises UserError where it cannot be written.
    """
    path = _column(version, name)
    write_jsonl(path, rows)
    return path


def attached(version: Version, name: str) -> Iterator[dict[str, Any]]:
    """The lines that `attach` kept. Raises UserError where there are none, or a line is damaged."""
    path = _column(version, name)
    if not path.exists():
        there = [each.stem for each in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        hint = nearest(name, there) or (f"There are: {', '.join(there)}." if there else "Nothing was measured yet.")
        raise UserError(f'Version {version.id} has no "{name}"', str(path.parent), hint)
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(f"Line {number} of {path.name} is damaged", str(path), "Measure it again.") from error


def _column(version: Version, name: str) -> Path:
    if not name.replace("_", "").isalnum():
        raise UserError(f'"{name}" cannot name a column', name, "Use letters, digits and underscores.")
    return datasets_folder() / "columns" / version.id / f"{name}.jsonl"


def _id(version: Version | None) -> str | None:
    return version.id if version else None


def _kept(part: str, path: Path, rows: int | None, largest: int | None) -> File:
    sha256, size = digest_of(path)
    if largest is None or size <= largest:
        objects().put(path, sha256)
    return File(part=part, path=absolute(path), sha256=sha256, size=size, rows=rows)


def _is_still(file: File) -> bool:
    """Whether the file on disk holds the version's content."""
    path = Path(file.path)
    return path.is_file() and path.stat().st_size == file.size and digest_of(path)[0] == file.sha256


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            yield block


def _record_file(version_id: str) -> Path:
    return datasets_folder() / "versions" / f"{version_id}.json"


def _write(version: Version) -> Version:
    """Write a record under a name that no other has; a taken name means the same record in the same instant."""
    while not _claim(_record_file(version.id), json.dumps(version.model_dump(mode="json"), indent=1)):
        version = version.later(version.made_on)
    return version


def _claim(target: Path, text: str, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Write a whole file under a name that is free; False where it is taken. A link, unlike a rename, never replaces.

    A file system without links gets a rename.
    """
    staged = target.with_name(f".{target.stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        write_text(staged, text + "\n")
        try:
            link(staged, target)
        except FileExistsError:
            return False
        except OSError:
            if target.exists():
                return False
            os.rename(staged, target)
        return True
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        staged.unlink(missing_ok=True)


def _read(path: Path) -> Version:
    fix = "Move it to another folder; the versions made from it stay, without this part of their history."
    try:
        version = Version.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"The record of version {path.stem} is missing", str(path), "Bring it back from a copy."
        ) from None
    except (OSError, ValidationError) as error:
        raise UserError(f"The record of version {path.stem} cannot be read: it is damaged", str(path), fix) from error
    if version.id != path.stem or record_hash(version)[:ID_LENGTH] != version.id:
        raise UserError(f"The record of version {path.stem} is damaged: it does not fit its name", str(path), fix)
    return version
