"""The arrows between the rooms, and who may import the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

HEAVY = {"torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "accelerate"}
RUN_PROCESS = (
    "executor.stage", "executor.job", "executor.train", "executor.evaluate.ask", "executor.evaluate.endpoint",
    "executor.evaluate.generate", "executor.evaluate.judge", "executor.evaluate.neutral",
    "executor.evaluate.preference", "executor.export.", "executor.serve.model", "executor.serve.__main__",
    "executor.evaluate.shared", "executor.evaluate.systems",
)  # fmt: skip
"""what is imported by the run process alone"""


def modules() -> list[str]:
    """Every module of the product outside the run process, by its import name."""
    files = [path for room in ("agent", "tools", "knowledge", "executor") for path in (ROOT / room).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return sorted(name for name in names if not name.startswith(RUN_PROCESS) and name != "agent.__main__")


def loaded(statements: str) -> set[str]:
    """The modules that a fresh interpreter holds after these statements."""
    program = f"import json, sys\n{statements}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_contracts_hold() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert len(contracts) >= 6
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter), "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts)} kept, 0 broken" in done.stdout


def test_no_module_outside_the_run_process_pulls_torch() -> None:
    names = modules()
    assert len(names) > 60
    assert {"agent.cli", "agent.tui.app", "tools.jobs", "executor.launch", "executor.report"} <= set(names)
    seen = loaded("import importlib\nfor name in " + repr(names) + ":\n    importlib.import_module(name)")
    assert not HEAVY & seen
    assert set(names) <= seen


@pytest.mark.parametrize("name", ["tools", "executor.launch", "executor.data.prepare", "knowledge.load"])
def test_light_modules_stay_light(name: str) -> None:
    slow = {"pandas", "scipy", "numpy", "pyarrow", "langchain", "langchain_core", "textual", "openai"}
    assert not (slow | HEAVY) & loaded(f"import {name}")


def test_the_run_process_imports_torch_only_after_its_status_is_written() -> None:
    assert not HEAVY & loaded("import executor.__main__")
