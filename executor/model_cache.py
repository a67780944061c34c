"""Where prepared base models lie, and whether one is whole. Light: no torch."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from executor.files import cannot_write, sha256_file, write_json
from executor.home import cache
from executor.spec import ModelSpec

MARKER = "complete.json"


def prepared_folder(model: ModelSpec) -> Path:
    """The folder that transformers loads offline. It need not exist yet; ask `is_whole`."""
    if model.source == "folder":
        return Path(model.folder or "")
    if model.source == "hub":
        name = f"{(model.hub_id or '').replace('/', '--')}-{model.revision or 'main'}"
    else:
        name = f"{model.name.replace('/', '--')}-{(model.sha256 or '')[:12]}"
    return cache() / "models" / name


def is_whole(folder: Path) -> bool:
    """Every file listed in the marker, which is written last, is there with its hash."""
    try:
        files: dict[str, str] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return bool(files) and all(sha256_file(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False


def mark_whole(folder: Path) -> None:
    """Write the marker: name and hash of every file in `folder`."""
    files = {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name != MARKER}
    write_json(folder / MARKER, files)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time prepares `folder`; the others wait."""
    lock = folder.parent / f".{folder.name}.lock"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = open(lock, "w")  # noqa: SIM115 (held while the body runs)
    except OSError as error:
        raise cannot_write(lock, error) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
