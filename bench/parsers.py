"""`make bench-parsers`: the configurations that `finetune plan --to` writes, through the trainers' own parsers.

TRL is in our own environment. The others get one each, with their package alone and, by a .pth file, what ours has: so
their parsers run beside newer versions of what they import, and no second torch is fetched. Unsloth cannot be imported
without a GPU; its script is compiled and its calls are held against the signatures in its source.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, get_args

from peers import PEERS

from executor.spec import Method
from executor.trainers import TRAINERS, TrainerName
from tools.plan_to import write_for
from tools.planning import Wish, plan_job

SCRIPTS = Path(__file__).resolve().parent / "parser_peers"
INSTALLED = {
    "axolotl": ["axolotl==0.19.0", "addict==2.4.0"],
    "llamafactory": ["llamafactory==0.9.5", "omegaconf==2.3.0", "antlr4-python3-runtime==4.9.3"],
    "unsloth": ["unsloth==2026.10.9"],
}
"""packages that a parser's environment has beside ours, without what they ask for"""
RATIOS = (0.8, 0.1, 0.1)


def python_of(trainer: TrainerName) -> str | None:
    """The interpreter whose environment has the trainer; None where it was not set up."""
    if trainer not in INSTALLED:
        return sys.executable
    folder = PEERS / trainer / ".venv"
    return str(folder / "bin" / "python") if (folder / ".ready").exists() else None


def set_up(trainer: TrainerName) -> str | None:
    """The same, made on first use; None with a line that says why not."""
    if (python := python_of(trainer)) is not None:
        return python
    folder = PEERS / trainer / ".venv"
    made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
    python = str(folder / "bin" / "python")
    if made.returncode == 0:
        ours = sysconfig.get_path("purelib")
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        Path(own, "shared.pth").write_text(ours + "\n", encoding="utf-8")
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", *INSTALLED[trainer]]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        print(f"left out: {trainer} cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
        return None
    (folder / ".ready").touch()
    return python


def parsed(python: str, trainer: TrainerName, folder: Path, config: str) -> dict[str, Any]:
    """`version, unknown, values, rows` of the configuration, by the trainer itself. Raises where it refuses it."""
    command = [python, "-P", str(SCRIPTS / f"{trainer}_peer.py"), str(folder), config]
    environment = {"PYTHONPATH": str(SCRIPTS), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise ValueError(f"{trainer} refuses {config}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def pairs(path: Path) -> Path:
    """Preference rows to plan a DPO on."""
    rows = [
        {"prompt": f"Say the number {number} in words, please.", "chosen": f"It is number {number}.", "rejected": "No."}
        for number in range(100, 160)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def main() -> int:
    faults = 0
    table = Path(__file__).resolve().parents[1] / "examples" / "support_tickets.csv"
    with tempfile.TemporaryDirectory() as place:
        for trainer in TRAINERS:
            python = set_up(trainer)
            for data in (table, pairs(Path(place) / "pairs.jsonl")) if python else ():
                for method in get_args(Method):
                    planned = plan_job("train", Wish(data, method=method), RATIOS)
                    out = str(Path(place) / f"{trainer}-{data.stem}-{method}")
                    written = write_for(planned, trainer, out, overwrite=False)
                    name = f"{trainer} {planned.spec.train.objective} {method}"
                    try:
                        found = parsed(str(python), trainer, Path(out), Path(written["config"]).name)
                    except ValueError as error:
                        print(f"{name}: {error}")
                        faults += 1
                        continue
                    told = f"unknown {found['unknown']}" if found["unknown"] else "read"
                    print(f"{name}: {told} by {found['version']}; rows {found['rows']}")
                    faults += bool(found["unknown"])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
