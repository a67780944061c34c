"""Files that are whole or absent: temporary file, fsync, rename. JSON lines, hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from executor.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed over `path`, on failure removed.

    Raises UserError where the folder cannot be written or the disk is full.
    """
    with replacing_all([path]) as temporaries:
        yield temporaries[0]


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As `replacing`, for files that belong together: a stop, a fault or a full disk leaves all of them or none.

    Only the loss of power between two renames can leave some. Raises UserError as `replacing`.
    """
    # named before they exist, so that a signal at any moment finds them in the `finally`
    temporaries = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") for path in paths]
    at = Path()
    try:
        for path, temporary in zip(paths, temporaries, strict=True):
            at = path
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "there is a folder of that name")
            temporary.touch(exist_ok=False)
        yield temporaries
        for path, temporary in zip(paths, temporaries, strict=True):
            at = path
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
        with uninterrupted():
            for path, temporary in zip(paths, temporaries, strict=True):
                at = path
                os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(at, error) from error
    finally:
        with uninterrupted():
            for temporary in temporaries:
                with suppress(OSError):  # it never came to be; what went wrong is told already
                    temporary.unlink()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block; in threads, which get no signals, it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.getsignal(number)
            signal.signal(number, lambda got, _: came.append(got))
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: set by something that is not Python
                signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def cannot_write(path: Path, error: OSError) -> UserError:
    """What went wrong while writing `path`, in the user's words."""
    reason = error.strerror or str(error)
    fix = "Free some disk space." if error.errno == errno.ENOSPC else "Choose a folder you may write to."
    return UserError(f"Cannot write {path.name}: {reason}", str(path), fix)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> list[Any]:
    """Every whole line; a last line cut off by a crash is dropped."""
    rows = []
    with open(path, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if line.endswith("\n") and line.strip():
                rows.append(json.loads(line))
    return rows


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Every line that is a JSON object; none where the file is absent. For what is shown, never for what is trained."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return objects_in(text)


def objects_in(text: str) -> list[dict[str, Any]]:
    """Every line that is a JSON object."""
    found = []
    for line in text.split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def append_jsonl(path: Path, row: Any) -> None:
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def sha256_rows(rows: Iterable[Any]) -> str:
    """A content hash of JSON rows: order counts, spacing and key order do not."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()
