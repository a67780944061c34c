"""Undo of a version: its files get back what they held before it, as a new version, so that undo can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from executor.data import store
from executor.data.objects import digest_of
from executor.data.version import File, Version
from executor.errors import UserError
from executor.files import cannot_write, replacing_all


def undo(version: Version, overwrite: bool = False) -> Version:
    """Write back what the files of `version` held before it, and record that as a new version of the step `undo`.

    Before it a path held what an older version left there; a path new with it held nothing, and then gets the content
    the version was made from where that is the same kind of file (the same suffix), else the file is taken away. All
    files are written or none. A file that was changed by hand since is refused, unless `overwrite`: then it is kept
    as a version first. Raises UserError for that, for a source, and where an older content was not kept.
    """
    versions = store.all_versions()
    known = {each.id: each for each in versions}
    changes = [(file, _before(version, file, known)) for file in version.files]
    by_hand = [file for file in version.files if _changed_by_hand(file, versions)]
    if by_hand and not overwrite:
        raise UserError(
            f"{by_hand[0].name} was changed since by hand; undo would replace it",
            by_hand[0].path,
            "Allow overwriting (--yes): the changed file is kept as a version first.",
        )
    if all(_holds(file.path, target.sha256) for file, target in changes):
        what = f"There is nothing to undo: {Path(version.path).name} holds what it held before version {version.id}"
        raise UserError(what, version.path, "`finetune data history` lists the versions.")
    for file in by_hand:
        store.ensure_source(Path(file.path), largest=None)
    _write_all(changes)
    files = tuple(target.model_copy(update={"path": file.path, "part": file.part}) for file, target in changes)
    return store.add(Path(version.path), "undo", files, {"undone": version.id}, [version])


def _before(version: Version, file: File, known: dict[str, Version]) -> File:
    """What the path of `file` held before `version`; a `File` without hash means none."""
    if file.previous is not None:
        held = known.get(file.previous) or store.get(file.previous)
        found = held.file(file.path)
        if found is not None:
            return found
    if version.step == "source":
        what = f"Version {version.id} is the file as it came; there is nothing before it"
        raise UserError(what, version.path, "Undo a version made from it.")
    parent = _single_source(version, file, known)
    return parent or File(part=file.part, path=file.path, sha256=None)


def _single_source(version: Version, file: File, known: dict[str, Version]) -> File | None:
    if not version.parents or len(version.files) > 1:
        return None
    parent = known.get(version.parents[0]) or store.get(version.parents[0])
    same_kind = len(parent.files) == 1 and Path(parent.files[0].path).suffix == Path(file.path).suffix
    return parent.files[0] if same_kind else None


def _changed_by_hand(file: File, versions: Sequence[Version]) -> bool:
    """Whether the file on disk holds something that no version left there, or whose content was not kept."""
    path = Path(file.path)
    if not path.exists():
        return False
    sha256, _ = digest_of(path)
    known = any(each.sha256 == sha256 and each.path == file.path for version in versions for each in version.files)
    return not (known and store.objects().holds(sha256))


def _holds(path: str, sha256: str | None) -> bool:
    place = Path(path)
    if sha256 is None or not place.exists():
        return sha256 is None and not place.exists()
    return digest_of(place)[0] == sha256


def _write_all(changes: Sequence[tuple[File, File]]) -> None:
    """Every content is written beside its place before the first file is replaced or taken away."""
    written = [(Path(file.path), target) for file, target in changes if target.sha256 is not None]
    with replacing_all([path for path, _ in written]) as temporaries:
        for temporary, (_, target) in zip(temporaries, written, strict=True):
            blocks = store.content(target)
            with open(temporary, "wb") as out:
                for block in blocks:
                    out.write(block)
    for file, target in changes:
        if target.sha256 is None:
            try:
                Path(file.path).unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(Path(file.path), error) from error
