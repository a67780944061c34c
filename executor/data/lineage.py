"""The way of a file through its versions: what it was made of, what was made of it, and whether it is still so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from executor.data import store
from executor.data.objects import digest_of
from executor.data.version import File, Version, absolute

State = Literal["unchanged", "changed", "gone", "replaced"]
"""of a version's files on disk: as it left them; written to since; no longer there; a later version wrote there"""


def history(path: Path | None = None) -> list[Version]:
    """Versions, the newest last: all of the workspace, or those a file or split folder descends from or led to.

    A file that no version wrote, but with the bytes of one, has the history of that one; one that nothing is known of
    has none. A path that does not exist may be the name of a version. Raises UserError where it is neither, and for a
    damaged record.
    """
    versions = store.all_versions()
    if path is None:
        return versions
    own = _own(path, versions)
    if not own and not path.exists():
        own = [store.lookup(path)]
    return _family(own, versions)


def ancestors(version: Version) -> list[Version]:
    """The versions that led to `version`, itself included, the newest last. A record that is gone is left out."""
    versions = store.all_versions()
    return _reached([version], versions, _parents(versions))


def state(version: Version, versions: Sequence[Version]) -> State:
    """What became of the files that `version` left; `versions` are all of the workspace, the newest last."""
    states = [_file_state(version, file, versions) for file in version.files]
    order: tuple[State, ...] = ("changed", "gone", "replaced", "unchanged")
    return min(states, key=order.index)


def states(versions: Iterable[Version]) -> dict[str, State]:
    """The state of each version by its name; each path is read once."""
    every = store.all_versions()
    return {version.id: state(version, every) for version in versions}


def _file_state(version: Version, file: File, versions: Sequence[Version]) -> State:
    latest = store.latest_at(file.path, versions)
    if latest is not None and latest.id != version.id:
        return "replaced"
    path = Path(file.path)
    if not path.exists():
        return "gone" if file.sha256 is not None else "unchanged"
    if not path.is_file() or path.stat().st_size != file.size:
        return "changed"
    return "unchanged" if digest_of(path)[0] == file.sha256 else "changed"


def _own(path: Path, versions: Sequence[Version]) -> list[Version]:
    """Those that wrote to the path, and those that left the bytes it holds now."""
    where = absolute(path)
    own = [version for version in versions if version.path == where or version.file(where)]
    if not path.is_file():
        return own
    held, size = digest_of(path)
    if size and not any(file.sha256 == held for version in own for file in version.files if file.path == where):
        own += [version for version in versions if any(file.sha256 == held for file in version.files)]
    return own


def _family(own: Sequence[Version], versions: Sequence[Version]) -> list[Version]:
    """Ancestors and descendants of some versions, but not the other descendants of their ancestors."""
    parents = _parents(versions)
    children: defaultdict[str, list[str]] = defaultdict(list)
    for child, its_parents in parents.items():
        for parent in its_parents:
            children[parent].append(child)
    up, down = _reached(own, versions, parents), _reached(own, versions, children)
    return sorted({version.id: version for version in (*up, *down)}.values(), key=lambda v: (v.made_on, v.id))


def _parents(versions: Iterable[Version]) -> dict[str, Sequence[str]]:
    return {version.id: version.parents for version in versions}


def _reached(
    start: Iterable[Version], versions: Sequence[Version], edges: Mapping[str, Sequence[str]]
) -> list[Version]:
    known = {version.id: version for version in versions}
    open_ids = [version.id for version in start]
    seen: set[str] = set()
    while open_ids:
        current = open_ids.pop()
        if current in known and current not in seen:
            seen.add(current)
            open_ids.extend(edges.get(current, ()))
    return [version for version in versions if version.id in seen]


def missing_parents(versions: Iterable[Version]) -> list[str]:
    """Names of parents whose record is gone."""
    known = {version.id for version in store.all_versions()}
    return sorted({parent for version in versions for parent in version.parents if parent not in known})
