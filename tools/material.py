"""What a diagnosis reads: plain words, a log of any common trainer, a trainer's state, or a run folder of our own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from executor.home import runs_folder
from tools.base import UserError
from tools.run_record import RunRecord

TAIL = 100_000
"""So many characters of a log are read, from its end; errors stand there."""

LOGGED = 5
"""From so many printed steps on a text is a log."""

Rows = list[dict[str, float]]

_NAME = r"['\"]?(?P<name>(?:train_|eval_)?loss|grad_norm|learning_rate|lr)['\"]?"
_VALUE = r"['\"]?(?P<value>-?(?:nan|inf(?:inity)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?))\b['\"]?"
_METRIC = re.compile(rf"(?<![\w.-]){_NAME}\s*[:=]\s*{_VALUE}", re.I)
"""`'loss': 1.2`, `loss=1.2`, `"eval_loss": "nan"`: the prints of Trainer and TRL, axolotl, LLaMA-Factory, torchtune."""

_SERIES = re.compile(r"\d+\.\d+(?:\s*(?:->|→|,)\s*\d+\.\d+){2,}")
_RATE = re.compile(
    r"(?:learning[ _-]?rate|\blr)\b['\"]?\s*(?:[:=]|of|is|was|to|at)?\s*(\d+(?:\.\d+)?(?:e-?\d+)?)", re.I
)
_VOCABULARY = re.compile(r"vocab(?:ulary)?[ _-]?size['\"]?\s*[:=]?\s*(?:is |of )?(\d{4,6})", re.I)
_VERSION = re.compile(
    r"\b(transformers|trl|peft|torch|pytorch|accelerate|bitsandbytes|deepspeed|datasets|unsloth(?:[_-]zoo)?|vllm|"
    r"ollama|flash[_-]attn|axolotl|llamafactory|liger[_-]kernel|xformers|numpy|mlx(?:-lm)?)\b"
    r"['\"`]*\s*(?:version|ver\.?)?['\"`]*\s*(?:==|[:=@]|\s)\s*['\"`]*v?(\d+\.\d+(?:\.\d+)?)",
    re.I,
)


@dataclass
class Material:
    """What was given, in the forms that the signals are looked for in."""

    text: str
    """words, log lines, the reason of a failed run"""
    rows: Rows = field(default_factory=list)
    """logged metrics in order: `loss`, `eval_loss`, `grad_norm`, `learning_rate`; a row holds what one line said"""
    rate: float | None = None
    """the learning rate that was set"""
    vocabulary: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    """package to version, as far as they are named"""
    run: RunRecord | None = None
    """of a run of ours"""


def read(symptom: str) -> Material:
    """Raises UserError for a path that does not exist or cannot be read."""
    path = _path(symptom)
    if path is None:
        return _from_text(symptom[-TAIL:])
    if path.is_dir():
        return _from_folder(path)
    return _from_file(path)


def _path(symptom: str) -> Path | None:
    """The existing path or run that the words name. Raises UserError for words that only can be a path."""
    if not symptom or len(symptom) > 1_000 or "\n" in symptom:
        return None
    candidates = [Path(symptom).expanduser(), runs_folder() / symptom]
    try:
        found = next((each for each in candidates if each.exists()), None)
    except (OSError, ValueError):  # a name too long, or with a null byte, is not a path
        return None
    pathlike = symptom.startswith(("/", "./", "~/")) or symptom.endswith((".log", ".jsonl", "_state.json"))
    if found is None and pathlike and " " not in symptom:
        raise UserError("No such log or run folder", symptom, "Give an existing path, or say in words what you saw.")
    return found


def _from_text(text: str) -> Material:
    vocabulary = _VOCABULARY.search(text)
    rate = _RATE.search(text)
    rows = metrics_in(text)
    if len(rows) >= LOGGED:  # the numbers speak as rows; as words they would speak for every cause
        text = "\n".join(line for line in text.splitlines() if not _printed(line))
    return Material(
        text=text,
        rows=rows,
        rate=float(rate.group(1)) if rate else None,
        vocabulary=int(vocabulary.group(1)) if vocabulary else None,
        versions={_package(name): version for name, version in _VERSION.findall(text)},
    )


def _from_file(path: Path) -> Material:
    """A log, metrics a line (our `metrics.jsonl`, LLaMA-Factory's `trainer_log.jsonl`), or `trainer_state.json`."""
    if path.suffix == ".jsonl":
        return Material("", _metrics(path))
    text = _tail(path)
    if path.suffix == ".json" and isinstance(history := _json(path).get("log_history"), list):
        return Material("", [_numbers(row) for row in history if isinstance(row, dict)])
    return _from_text(text)


def _from_folder(folder: Path) -> Material:
    """A run of ours, or the output folder of a Hugging Face trainer: the newest `trainer_state.json` below it."""
    if not (folder / "status.json").exists() and not (folder / "metrics.jsonl").exists():
        return _from_output_folder(folder)
    run = RunRecord(folder)
    parts = [run.failure]
    if run.ours:  # its log holds rows of the data: only what broke is about the run
        tail = _tail(folder / "run.log") if run.failure else ""
        parts += [tail[tail.rfind("Traceback") :]] if "Traceback" in tail else []
    else:
        parts += [_tail(log) for log in sorted(folder.glob("*.log"))]
    recorded = _json(folder / "env.json").get("versions")
    versions = recorded if isinstance(recorded, dict) else {}
    return Material(
        text="\n".join(parts),
        rows=_metrics(folder / "metrics.jsonl"),
        rate=_set_rate(folder / "spec.yaml"),
        versions={_package(str(name)): str(version) for name, version in versions.items() if version},
        run=run if run.ours else None,
    )


def _from_output_folder(folder: Path) -> Material:
    states = sorted(folder.glob("trainer_state.json")) or sorted(
        folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime
    )
    logs = [*sorted(folder.glob("*.log")), *sorted(folder.glob("trainer_log.jsonl"))]
    if not states and not logs:
        raise UserError(
            "This folder is no run", str(folder), "Give one with status.json and metrics.jsonl, or trainer_state.json."
        )
    read_from = [_from_file(path) for path in [*logs, *states[-1:]]]
    texts = [material for material in read_from if material.text]
    best = max(read_from, key=lambda material: len(material.rows))
    return Material(
        text="\n".join(material.text for material in texts),
        rows=best.rows,
        rate=next((material.rate for material in texts if material.rate), None),
        versions={name: version for material in texts for name, version in material.versions.items()},
    )


def metrics_in(text: str) -> Rows:
    """Metrics printed in a log, a row a line; or losses written as `2.1 -> 3.4 -> 9.2`."""
    rows = [row for line in text.splitlines() if (row := _printed(line))]
    if not any("loss" in row for row in rows) and "loss" in text.lower() and (series := _SERIES.search(text)):
        rows += [{"loss": float(each)} for each in re.findall(r"\d+\.\d+", series.group())]
    return rows if sum(len(row) for row in rows) > 2 else []


def _printed(line: str) -> dict[str, float]:
    row: dict[str, float] = {}
    for match in _METRIC.finditer(line[:4_000]):
        name = match["name"].lower()
        name = {"train_loss": "loss", "lr": "learning_rate"}.get(name, name)
        row.setdefault(name, float(match["value"]))
    if row.keys() <= {"learning_rate"}:  # a setting, not a logged step
        return {}
    return row


def _metrics(path: Path) -> Rows:
    """The numeric fields of each whole line; other lines are passed over."""
    if not path.exists():
        return []
    rows = []
    for line in _tail(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(_numbers(row))
    return rows


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    named = {
        **row,
        "loss": row.get("loss", row.get("train_loss")),
        "learning_rate": row.get("learning_rate", row.get("lr")),
    }
    found = {}
    for key, value in named.items():
        if isinstance(value, bool) or value is None:
            continue
        try:
            found[key] = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return found


def _set_rate(path: Path) -> float | None:
    """The learning rate of a spec. YAML 1.1 reads 2e-4 as a string."""
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        return float(_find(spec, "learning_rate"))
    except (OSError, yaml.YAMLError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _find(tree: Any, key: str) -> Any:
    if not isinstance(tree, dict):
        return None
    if key in tree:
        return tree[key]
    return next((found for value in tree.values() if (found := _find(value, key)) is not None), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tail(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            return log.read().decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(
            f"Cannot read the log: {error.strerror}", str(path), "Check the path and its rights."
        ) from error


def _package(name: str) -> str:
    lower = name.lower().replace("_", "-")
    return {"pytorch": "torch"}.get(lower, lower)
