"""What the parsers' scripts share: the folder to look into, and one JSON object as the answer."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any


def job() -> tuple[str, Path]:
    """(name of the configuration, its folder), which becomes the working folder, as it is for the trainer's user."""
    folder = Path(sys.argv[1])
    os.chdir(folder)
    return sys.argv[2], folder


def as_values(*parts: Any) -> dict[str, Any]:
    """Every field of the parsed parts, as plain values."""
    found: dict[str, Any] = {}
    for part in parts:
        named = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        found |= named
    return {name: plain(value) for name, value in found.items()}


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return getattr(value, "value", value)  # of an enumeration
    return str(value)


def report(**found: Any) -> None:
    print("\n" + json.dumps(found))
