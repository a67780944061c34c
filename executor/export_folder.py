"""The folder that an export writes: where it may be, what it may replace, and how it gets there. Light: no torch."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

from executor.errors import UserError
from executor.export.hub_folder import LEFT_OUT, NOTICES
from executor.export_spec import Quant
from executor.files import cannot_write, read_json
from executor.home import cache, workspace

PROOF = "equivalence.json"
TELLS = "export.json"
"""what was exported from what: `run, target, quant, system, base, dtype`; a push has none, it would tell the prompt"""
ADAPTER = "adapter"
"""the folder of an adapter in an export for vLLM"""
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja",
)  # fmt: skip
MODEL = ("config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
         "model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors")  # fmt: skip
WRITTEN = (PROOF, TELLS, "Modelfile", "serve.txt", *TOKENIZER, *MODEL, *(f"model.{q}.gguf" for q in get_args(Quant)))
CARD = ("README.md", *NOTICES)
"""what a push has beside the model"""
ANOTHER = "Give another folder: --yes replaces only what an export wrote."


def target_of(text: str) -> Path:
    """The folder that `text` names, absolute and without links. Raises UserError where no folder can be there."""
    try:
        given = Path(text).expanduser().absolute()
        if given.is_symlink():
            raise UserError(f"{given.name} is a symbolic link", str(given), "Name the folder itself, or another one.")
        return given.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, links in a circle, no such user, a NUL
        raise UserError("No folder can have this name", text[:200], "Give another folder.") from error


def refuse_place(out: Path, parts: Iterable[Path] = (), bases: Iterable[Path] = ()) -> None:
    """Raises UserError where an export would stand in what is not its own, or take it away.

    `parts`: folders of the run that is exported; `bases`: folders that must not be replaced.
    """
    around = [(workspace(), "the workspace"), *((each, "the run that is exported") for each in parts)]
    beneath = [(Path.home(), "your home folder"), (cache(), "the model cache")]
    beneath += [(each, "the base model") for each in bases]
    with suppress(FileNotFoundError):  # the current folder was removed
        beneath.append((Path.cwd(), "the current folder"))
    for folder, name in ((folder.resolve(), name) for folder, name in (*around, *beneath)):
        if out == folder or out in folder.parents:
            raise misplaced(out, f"{'is' if out == folder else 'contains'} {name}")
    if out == out.parent:
        raise misplaced(out, "is the root folder")
    for folder, name in around:
        if folder.resolve() in out.parents:
            raise misplaced(out, f"lies in {name}")
    for folder in (out, *out.parents):
        if all(os.path.exists(folder / name) for name in ("spec.yaml", "status.json")):
            raise misplaced(out, f"{'is' if folder == out else 'lies in'} a run folder")


def misplaced(out: Path, why: str) -> UserError:
    return UserError(f"An export cannot go there: it {why}", str(out), "Give another folder.")


def refuse_replacing(out: Path, overwrite: bool) -> None:
    """Raises UserError for what is there and is no export, and for an export unless it may be replaced."""
    try:
        if not os.path.lexists(out):
            return
        if out.is_symlink() or not out.is_dir():
            raise UserError(f"{out.name} is there and is no folder", str(out), "Give another folder.")
        if out.is_mount():
            raise UserError(f"{out.name} is a disk's own folder", str(out), "Name a folder in it.")
        foreign = strange(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    if foreign:
        raise UserError(f"{out.name} is there and holds {foreign}, which no export wrote", str(out), ANOTHER)
    if not overwrite:
        raise UserError(f"{out.name} is there already", str(out), "Give another folder, or --yes to replace it.")


def strange(folder: Path) -> str:
    """The first thing in a folder that no export wrote; empty for an export and for a folder with nothing in it."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    if not entries:
        return ""
    try:
        proved = isinstance(read_json(folder / PROOF), dict)
    except (OSError, ValueError, RecursionError):
        proved = False
    if not proved:
        return entries[0].name
    known = WRITTEN if (folder / TELLS).exists() else (*WRITTEN, *CARD)
    for entry in entries:
        if entry.name == ADAPTER and entry.is_dir(follow_symlinks=False):
            if within := unknown(os.scandir(entry.path), (*TOKENIZER, *MODEL, *LEFT_OUT)):
                return f"{ADAPTER}/{within}"
        elif within := unknown([entry], known):
            return within
    return ""


def unknown(entries: Iterable[os.DirEntry[str]], known: Sequence[str]) -> str:
    """The first entry that is no plain file of one of these names; empty where there is none."""
    for entry in entries:
        if not (entry.is_file(follow_symlinks=False) and any(fnmatch(entry.name, name) for name in known)):
            return entry.name
    return ""


def try_writing(out: Path) -> None:
    """Make the parent, a file in it, and `out` itself where it is absent, and take them away again.

    Raises UserError where that cannot be done.
    """
    made: list[Path] = []
    try:
        absent = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
        for folder in reversed(absent):
            folder.mkdir()
            made.append(folder)
        probe = out.parent / f".finetune-{secrets.token_hex(4)}.tmp"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # somebody put something there
                folder.rmdir()


def put(work: Path, out: Path, overwrite: bool) -> None:
    """Rename `work` to `out`; an export that was there goes once the new one stands.

    Raises UserError, with `work` kept beside `out` under a name that is told, where `out` is not to be replaced now.
    """
    old = out.with_name(f".finetune-{secrets.token_hex(4)}.old")
    try:
        refuse_replacing(out, overwrite)
        if out.exists():
            out.rename(old)
            if foreign := strange(old):  # it came between the look and the rename
                what = f"{out.name} is there and holds {foreign}, which no export wrote"
                raise UserError(what, str(out), ANOTHER)
        if out.exists():
            raise FileExistsError(errno.EEXIST, "a folder appeared there")
        work.rename(out)
    except (OSError, UserError) as error:
        if old.exists() and not os.path.lexists(out):
            with suppress(OSError):
                old.rename(out)
        raise kept(work, out, error) from error
    shutil.rmtree(old, ignore_errors=True)


def kept(work: Path, out: Path, error: OSError | UserError) -> UserError:
    """What went wrong, and where the finished export is."""
    if isinstance(error, OSError):
        error = cannot_write(out, error)
    free = (out.with_name(f"{out.name}-{n}") for n in range(2, 1000))
    place = next((each for each in free if not os.path.lexists(each)), None)
    try:
        if place is None:
            return error
        work.rename(place)
    except OSError:
        return error
    return UserError(error.what, error.where, f"The finished export is in {place}.")


def told_of(folder: Path) -> dict[str, Any]:
    """What export.json says; nothing where there is none that can be read."""
    try:
        found = read_json(folder / TELLS)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
