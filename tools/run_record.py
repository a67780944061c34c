"""What a run folder of ours says about itself; each part is empty where its file is absent or broken."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

MOST_ROWS = 5_000
"""rows of the data that are looked at"""
MOST_BYTES = 64 << 20
"""of a file that is read whole"""
LARGEST = 1e15
"""of a count or a share"""
Row = dict[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """The run in `folder`; every property may be empty, none raises."""

    folder: Path

    @cached_property
    def spec(self) -> Row:
        try:
            found = yaml.safe_load(self._text("spec.yaml"))
        except yaml.YAMLError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def train(self) -> Row:
        """The spec's training part."""
        return _part(self.spec, "train")

    @property
    def ours(self) -> bool:
        """Whether this program wrote it: then it says more than curves."""
        return {"stages", "train"} <= self.spec.keys()

    @cached_property
    def proof(self) -> Row:
        """What the loss sees of the training rows, as counted before the training."""
        return _part(self._json("examples.json"), "train")

    @cached_property
    def faults(self) -> dict[str, int]:
        return {name: int(count) for name, count in _part(self.proof, "faults").items() if _is_number(count)}

    @cached_property
    def proved_rows(self) -> int:
        return int(self.proof["rows"]) if _is_number(self.proof.get("rows")) else 0

    @cached_property
    def lost(self) -> dict[str, float]:
        """Share of the data's rows that each step of their preparation left out."""
        steps = self._json("data.json").get("lineage")
        found = {}
        for step in steps if isinstance(steps, list) else []:
            before, after = (_number(step.get(key)) for key in ("rows_in", "rows_out")) if isinstance(step, dict) else (
                0.0, 0.0,
            )  # fmt: skip
            if before > 0:
                found[str(step.get("step"))] = (before - after) / before
        return found

    @cached_property
    def rows(self) -> list[Row]:
        """The training rows that are conversations."""
        return [row for row in self._lines("data/train.jsonl") if _is_chat(row.get("messages"))]

    @cached_property
    def metrics(self) -> list[Row]:
        return self._lines("metrics.jsonl")

    @cached_property
    def answers(self) -> list[Row]:
        """Lines of the tuned model's answers."""
        found = self._lines("evaluation/fine_tuned.jsonl")
        return [row for row in found if isinstance(row.get("output"), str) and isinstance(row.get("expected"), str)]

    @cached_property
    def failure(self) -> str:
        """What ended the run, in its own words; empty where nothing did."""
        status = self._json("status.json")
        if status.get("state") not in ("failed", "stopped"):
            return ""
        error = _part(status, "error")
        told = [str(part) for part in (status.get("reason"), error.get("what"), error.get("where")) if part]
        return "\n".join(dict.fromkeys(told))

    @cached_property
    def base(self) -> Path | None:
        """The folder of the base model, where it is still there."""
        named = self._json("stages/prepare_model.json").get("folder")
        named = named or self._json("adapter/adapter_config.json").get("base_model_name_or_path")
        folder = Path(named) if isinstance(named, str) and named else None
        return folder if folder and (folder / "config.json").exists() else None

    @cached_property
    def adapter_moved(self) -> bool | None:
        """Whether any B of the saved adapter differs from zero, where it started; None where there is none."""
        return moved(self.folder / "adapter" / "adapter_model.safetensors")

    def losses(self, name: str = "loss") -> list[float]:
        """In order; a loss that is no finite number is kept as it is."""
        return [float(line[name]) for line in self.metrics if _is_number(line.get(name), text=True)]

    def template(self, part: str) -> str:
        """The chat template in `base` or `adapter`, or nothing."""
        folder = self.base if part == "base" else self.folder / part
        return read_text(folder / "chat_template.jinja").strip() if folder else ""

    def _text(self, name: str) -> str:
        return read_text(self.folder / name)

    def _json(self, name: str) -> Row:
        return read_object(self.folder / name)

    def _lines(self, name: str) -> list[Row]:
        found = []
        for line in self._text(name).splitlines()[:MOST_ROWS]:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                found.append(row)
        return found


def read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_object(path: Path) -> Row:
    try:
        found = json.loads(read_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def moved(file: Path) -> bool | None:
    """Whether a LoRA file holds a B with anything but zeros; None where it cannot be told."""
    try:
        with open(file, "rb") as data:
            (size,) = struct.unpack("<Q", data.read(8))
            header = json.loads(data.read(min(size, MOST_BYTES)))
            places = [value["data_offsets"] for name, value in header.items() if ".lora_B." in name]
            for start, end in places:
                data.seek(8 + size + start)
                if data.read(end - start).strip(b"\0"):
                    return True
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return False if places else None


def _part(tree: Row, name: str) -> Row:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0


def _is_chat(turns: Any) -> bool:
    return isinstance(turns, list) and bool(turns) and all(
        isinstance(turn, dict) and isinstance(turn.get("content"), str | None) for turn in turns
    )  # fmt: skip


def _is_number(value: Any, text: bool = False) -> bool:
    """Whether it is a number; with `text` also one that JSON does not know, as the log writes it."""
    if isinstance(value, str) and text:
        return value.lower().lstrip("-") in ("nan", "inf", "infinity")
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and (text or abs(value) < LARGEST)
