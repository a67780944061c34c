"""What is pushed of an adapter: its own bytes, with the base named as the hub knows it and no path of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from executor.files import read_json, sha256_file, write_json

LEFT_OUT = ("README.md", "training_args.bin")
"""files of an adapter that the push has its own of, or none"""
NOTICES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "Notice", "USE_POLICY.md")
"""files of the base model that go along where they lie beside it"""


def adapter_files(tuned: Path, work: Path, base: str) -> None:
    """Copy the adapter; its config names the base `base` in place of a folder of this machine."""
    for file in sorted(tuned.iterdir()):
        if file.is_file() and file.name not in LEFT_OUT and not file.name.startswith("."):
            shutil.copyfile(file, work / file.name)
    config = read_json(work / "adapter_config.json")
    write_json(work / "adapter_config.json", config | {"base_model_name_or_path": base})


def notices(base: Path, work: Path) -> None:
    """The licence texts of the base model, where they are at hand."""
    for name in NOTICES:
        if (base / name).is_file():
            shutil.copyfile(base / name, work / name)


def byte_fault(tuned: Path, work: Path) -> str:
    """Why the weights are not those of the adapter, byte for byte; empty where they are."""
    names = [file.name for file in sorted(tuned.glob("*.safetensors"))]
    differ = [n for n in names if not (work / n).is_file() or sha256_file(work / n) != sha256_file(tuned / n)]
    return f"Bytes: {', '.join(differ)} is not what the training left." if differ or not names else ""
