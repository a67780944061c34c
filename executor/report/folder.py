"""Reads what a run folder holds; a file that is missing or broken is empty, and a broken one is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from executor.files import read_json, read_jsonl

SYSTEMS = ("zero_shot", "prompt", "few_shot", "rag", "fine_tuned")


@dataclass(frozen=True)
class RunFiles:
    """The content of a run folder, as read. Nothing in it is trusted to have a certain form."""

    path: Path
    spec: dict[str, Any]
    data: dict[str, Any]
    env: dict[str, Any]
    summary: dict[str, Any]
    logged: list[dict[str, Any]]
    """lines of metrics.jsonl"""
    outputs: dict[str, list[dict[str, Any]]]
    """system -> lines of evaluation/SYSTEM.jsonl"""
    broken: tuple[str, ...]
    """files that are there and could not be read"""


def read_run(path: Path) -> RunFiles:
    broken: list[str] = []

    def read(name: str, reader: Callable[[Path], Any]) -> Any:
        file = path / name
        if not file.is_file():
            return None
        try:
            return reader(file)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            broken.append(name)
            return None

    names = sorted(file.name for file in (path / "evaluation").glob("*.jsonl"))
    return RunFiles(
        path=path,
        spec=mapping(read("spec.yaml", read_yaml)),
        data=mapping(read("data.json", read_json)),
        env=mapping(read("env.json", read_json)),
        summary=mapping(read("summary.json", read_json)),
        logged=mappings(read("metrics.jsonl", read_jsonl)),
        outputs={name.removesuffix(".jsonl"): mappings(read(f"evaluation/{name}", read_jsonl)) for name in names},
        broken=tuple(broken),
    )


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def mapping(value: Any) -> dict[str, Any]:
    """`value` where it is a mapping, else an empty one. Keys become text."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    return [mapping(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def texts(value: Any) -> list[str]:
    """The sentences of a list of strings, or of mappings with the key `text` and perhaps `source`."""
    found = []
    for item in value if isinstance(value, list) else []:
        fields = mapping(item)
        source = f" [{fields['source']}]" if fields.get("source") else ""
        said = fields.get("text") if fields else item
        if said is not None:
            found.append(f"{said}{source}")
    return found


def flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves of nested mappings, as dotted key and value, in order. Lists are leaves."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    leaves = []
    for key, item in value.items():
        leaves += flat(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def best_system(scores: dict[str, Any]) -> str:
    """The system with the highest task accuracy; the first of them in the order of cost. Empty without scores."""

    def value(system: str) -> float:
        known = number(mapping(mapping(scores[system]).get("task_accuracy")).get("value"))
        return -1.0 if known is None else known

    return max(in_order(set(scores)), key=value, default="")


def subject(run: RunFiles) -> str:
    """The system that the run is about: the one with a verdict, else the tuned one, else the best that was measured."""
    compared = str(mapping(run.summary.get("comparison")).get("a") or "")
    if run.summary.get("verdict") and run.outputs.get(compared):
        return compared
    if run.outputs.get("fine_tuned") and run.spec.get("kind") != "endpoint":
        return "fine_tuned"
    measured = mapping(run.summary.get("scores"))
    return best_system({each: measured.get(each) for each, lines in run.outputs.items() if lines})


def in_order(systems: set[str]) -> list[str]:
    """The known systems in the order of their cost, then named endpoints."""
    return [each for each in SYSTEMS if each in systems] + sorted(systems - set(SYSTEMS))
