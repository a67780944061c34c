"""What the benchmarks against public alternatives share: peers' own virtual environments under `.bench/`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".bench"
RESULTS = PEERS / "results"


def python_of(peer: str, installed: Mapping[str, Sequence[str]]) -> str | None:
    """The interpreter of a peer's environment, made on first use; None with a line that says why not.

    `installed` names what pip is given for each peer; a peer that is not in it runs in our own environment.
    """
    if peer not in installed:
        return sys.executable
    folder = PEERS / peer / ".venv"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"setting up {peer} ...", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        command = [str(python), "-m", "pip", "install", "--quiet", *installed[peer]]
        if made.returncode == 0:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            print(f"left out: {peer} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
            return None
        (folder / ".ready").touch()
    return str(python)
