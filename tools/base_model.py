"""The base model that a name means: a row of the catalogue, a folder on this disk, or a hub repository."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from executor.errors import UserError, nearest
from executor.estimate import shape_of
from executor.spec import ModelSpec
from knowledge.load import models
from knowledge.rows import BaseModelRow
from tools.licence_found import strictest

LICENCE = re.compile(r"[A-Za-z0-9.+-]{1,60}")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve_model(name: str | None) -> ModelSpec:
    """The spec of a base model; None is the embedded default.

    A hub repository must be known to this machine's hub cache or answer on the network. Raises UserError where the
    name means nothing.
    """
    if name is None:
        return from_catalogue(models()[0])
    path = Path(name).expanduser()
    if path.is_dir():
        return from_folder(path)
    wanted = name.lower()
    row = next((row for row in models() if wanted in (row.name.lower(), row.hub_id.lower())), None)
    if row is not None and row.sources[0].kind == "wheel":
        return from_catalogue(row)
    hub_id = row.hub_id if row else name
    if HUB_NAME.fullmatch(hub_id) and (there := on_hub(hub_id)) is not None:
        return ModelSpec(
            name=row.name if row else hub_id, source="hub", hub_id=hub_id,
            licence=row.licence if row else there.licence, parameters=row.parameters if row else None,
        )  # fmt: skip
    known = [row.name for row in models()]
    hint = nearest(name, known) or "`finetune models` lists the catalogue; a folder on this disk works too."
    where = "not a folder on this disk, and the hub does not have it or cannot be reached"
    raise UserError(f'Unknown base model "{name}"', where, hint)


def from_catalogue(row: BaseModelRow) -> ModelSpec:
    source = row.sources[0]
    return ModelSpec(
        name=row.name, source="wheel", package=f"{source.package}=={source.version}", file=source.file,
        sha256=source.sha256, licence=row.licence, parameters=row.parameters,
    )  # fmt: skip


def from_folder(path: Path) -> ModelSpec:
    if not (path / "config.json").exists():
        raise UserError("Not a model folder: it has no config.json", str(path), "Name a folder saved by transformers.")
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read config.json: {error}", str(path), "Save the model again.") from error
    shape = shape_of(path)
    name = re.sub(r"[^\w.-]", "-", path.resolve().name).lstrip(".-") or "model"
    parameters = shape.parameters if shape else None
    return ModelSpec(name=name, source="folder", folder=str(path.resolve()), parameters=parameters)


@dataclass(frozen=True)
class There:
    """A model of the hub."""

    licence: str | None = None
    """what its own card says"""


def on_hub(hub_id: str) -> There | None:
    """The repository where it is in the local hub cache or the hub says that it exists."""
    if in_hub_cache(hub_id):
        return There()
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return None
    from huggingface_hub import HfApi

    try:
        tags = HfApi().model_info(hub_id, timeout=10).tags or ()
    except Exception:  # not found, gated, no network: for the user it is one thing, it cannot be had
        return None
    said = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    return There(strictest([each if LICENCE.fullmatch(each) else None for each in said]) if said else None)


def in_hub_cache(hub_id: str) -> bool:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return (hub / f"models--{hub_id.replace('/', '--')}" / "snapshots").is_dir()
