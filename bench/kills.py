"""`make bench-kills`: a training killed at random moments, again and again, ends with the same bytes as one left alone.

Every life of the run is ended by SIGKILL at a moment drawn uniformly from the time that an undisturbed training takes,
start-up included: in the middle of a step, of a checkpoint, of a validation, while the model loads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "support_tickets.csv"


def answered(home: Path, *words: str) -> dict[str, Any]:
    """The command's one object, a refusal too."""
    program = [str(Path(sys.executable).parent / "finetune"), *words, "--json"]
    environment = {**os.environ, "FINETUNE_HOME": str(home)}
    done = subprocess.run(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def finetune(home: Path, *words: str) -> dict[str, Any]:
    answer = answered(home, *words)
    if "error" in answer:
        raise SystemExit(answer["error"])
    return answer


def planned(home: Path, steps: int) -> Path:
    """A short training with all that a resume must restore: dropout, validations that choose a state, checkpoints."""
    spec_file = home / "spec.yaml"
    finetune(home, "plan", str(EXAMPLE), "--no-measure", "--out", str(spec_file))
    spec = yaml.safe_load(spec_file.read_text(encoding="utf-8"))
    spec["train"] |= {"steps": steps, "checkpoint_every": 3, "evaluate_every": 8, "watched_rows": 8}
    spec["lora"]["dropout"] = 0.05
    spec_file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return spec_file


def digest(run: Path) -> str:
    return hashlib.sha256((run / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


def killed_after(run: Path, seconds: float) -> str:
    """Kill the run's process; what it was doing, or `done` where it had finished before."""
    process = psutil.Process(json.loads((run / "status.json").read_text(encoding="utf-8"))["pid"])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(psutil.Error):
            process.wait(timeout=min(0.5, max(0.01, end - time.monotonic())))
        if (run / "result.json").exists():
            return "done"
    status: dict[str, Any] = json.loads((run / "status.json").read_text(encoding="utf-8"))
    with suppress(psutil.NoSuchProcess):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    done = (status.get("progress") or {}).get("done")
    return f"{status['stage']}{'' if done is None else f' {done}'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = planned(home, options.steps)
        started = time.monotonic()
        alone = Path(finetune(home, "train", str(spec))["run"])
        whole = time.monotonic() - started
        print(f"undisturbed: {whole:.0f} s, adapter {digest(alone)[:16]}", flush=True)
        run = Path(finetune(home, "train", str(spec), "--detach")["run"])
        moments = []
        while len(moments) < options.kills:
            moments.append(killed_after(run, chance.uniform(0, whole)))
            if moments[-1] == "done":  # it outlived the draw: begin another run, the kills go on
                print(f"survived {len(moments) - 1} kills so far, adapter {digest(run)[:16]}", flush=True)
                same = digest(run) == digest(alone)
                moments.pop()
                if not same:
                    return 1
                run = Path(finetune(home, "train", str(spec), "--detach")["run"])
                continue
            print(f"kill {len(moments)}: {moments[-1]}", flush=True)
            finetune(home, "train", "--resume", run.name, "--detach")
        finetune_end = killed_after(run, 1e6)
        same = digest(run) == digest(alone)
        print(f"{len(moments)} kills, {finetune_end}: adapter {'identical' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
