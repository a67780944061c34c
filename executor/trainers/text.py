"""The files that a trainer reads, as text: YAML with its remarks above it, rows as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from executor.data.rows import Row
from executor.text import printable
from executor.trainers.plan import TRAIN, VALIDATION, Plan, TrainerName, keys

WIDTH = 100


def one_line(text: str) -> str:
    """Names of files may hold anything: harmless in a comment."""
    return " ".join(printable(text.encode("utf-8", "replace").decode()).split())


def heading(plan: Plan, trainer: TrainerName, command: str, remarks: Sequence[str]) -> str:
    """The comment above a configuration; of YAML and Python alike."""
    known = keys().trainers[trainer]
    lines = [
        f"The plan of {one_line(Path(plan.spec.data.path).name)} for {known.title} (keys of version {known.version}).",
        f"Run in this folder: {command}",
        *(["", "Other than in the plan, or without an equivalent there:"] if remarks else []),
    ]
    lines += [piece for remark in remarks for piece in wrap(f"- {one_line(remark)}", WIDTH, subsequent_indent="  ")]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def as_yaml(plan: Plan, trainer: TrainerName, value: dict[str, Any], command: str, remarks: Sequence[str]) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    if yaml.safe_load(text) != value:  # a line end of Unicode in a name: PyYAML writes it plain and reads it as a space
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=10_000)
    return heading(plan, trainer, command, remarks) + text


def as_jsonl(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def data_files(plan: Plan, text: Callable[[Sequence[Row]], str]) -> dict[str, str]:
    """The training rows, and the validation rows where there are any; never the test's."""
    found = {TRAIN: text(plan.train)}
    return found | ({VALIDATION: text(plan.validation)} if plan.validation else {})
