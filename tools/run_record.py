"""What a run folder of ours says about itself; each part is empty where its file is absent or broken."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from executor.files import objects_in
from executor.run_folder import RunFolder

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
            found = yaml.safe_load(read_text(self.folder / "spec.yaml"))
        except (yaml.YAMLError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def train(self) -> Row:
        """The spec's training part."""
        return _part(self.spec, "train")

    @property
    def ours(self) -> bool:
        """Whether this program's spec is there: then the record says more than curves."""
        return bool(self.train)

    @cached_property
    def half(self) -> bool:
        """Whether it computed in float16."""
        named = str(self.train.get("dtype")).lower()
        return self.train.get("fp16") is True or named.removeprefix("torch.") in ("float16", "fp16", "half")

    @cached_property
    def proof(self) -> Row:
        """What the loss sees of the training rows, as counted before the training."""
        return _part(read_object(self.folder / "examples.json"), "train")

    def proved(self, name: str) -> int:
        """A number of the proof, or 0."""
        return int(_number(self.proof.get(name)))

    @cached_property
    def faults(self) -> dict[str, int]:
        return {name: int(_number(count)) for name, count in _part(self.proof, "faults").items()}

    @cached_property
    def lost(self) -> dict[str, float]:
        """Share of the data's rows that each step of their preparation left out."""
        steps = read_object(self.folder / "data.json").get("lineage")
        found = {}
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict) and _number(step.get("rows_in")) > 0:
                before, after = _number(step.get("rows_in")), _number(step.get("rows_out"))
                found[str(step.get("step"))] = (before - after) / before
        return found

    @cached_property
    def rows(self) -> list[Row]:
        """The training rows that are conversations."""
        return [row for row in _lines(self.folder / "data" / "train.jsonl") if _is_chat(row.get("messages"))]

    @cached_property
    def metrics(self) -> list[Row]:
        return _lines(self.folder / "metrics.jsonl")

    @cached_property
    def answers(self) -> list[Row]:
        """Lines of the tuned model's answers."""
        found = _lines(self.folder / "evaluation" / "fine_tuned.jsonl")
        return [row for row in found if isinstance(row.get("output"), str) and isinstance(row.get("expected"), str)]

    @cached_property
    def failure(self) -> str:
        """What ended the run, in its own words; empty where nothing did, and where the user stopped it."""
        if not read_object(self.folder / "status.json"):
            return ""
        try:
            status = RunFolder(self.folder).status()
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return ""
        if status.get("state") != "failed":
            return ""
        error = _part(status, "error")
        told = [str(error[name]) for name in ("what", "where") if error.get(name)]
        # a reason without an error ends in our own advice, which is no symptom
        return "\n".join(told) if told else str(status.get("reason") or "").partition("; resume")[0]

    @cached_property
    def base(self) -> Path | None:
        """The folder of the base model, where it is still there."""
        named = (
            read_object(self.folder / "stages" / "prepare_model.json").get("folder"),
            read_object(self.folder / "adapter" / "adapter_config.json").get("base_model_name_or_path"),
            _part(self.spec, "model").get("folder"),
        )
        folders = [Path(each) for each in named if isinstance(each, str) and each]
        return next((folder for folder in folders if read_object(folder / "config.json")), None)

    @cached_property
    def tokens(self) -> set[str]:
        """The vocabulary of the base's tokenizer."""
        found = read_object(self.base / "tokenizer.json") if self.base else {}
        listed = found.get("added_tokens")
        added = listed if isinstance(listed, list) else []
        names = {str(each.get("content")) for each in added if isinstance(each, dict)}
        vocabulary = _part(found, "model").get("vocab")
        return names | set(map(str, vocabulary)) if isinstance(vocabulary, dict) else names

    @cached_property
    def layers(self) -> set[str]:
        """The last names of the base's modules, such as `q_proj`; empty where its weights are not there."""
        files = sorted(self.base.glob("*.safetensors")) if self.base else []
        return {name.split(".")[-2] for file in files for name in tensors(file) if name.count(".") > 1}

    @cached_property
    def adapter_moved(self) -> bool | None:
        """Whether any B of the saved adapter differs from zero, where it started; None where there is none."""
        return moved(self.folder / "adapter" / "adapter_model.safetensors")

    @cached_property
    def rate(self) -> float | None:
        """The learning rate that trained: the sweep's choice, the highest logged one, else the spec's."""
        chosen = _part(read_object(self.folder / "stages" / "train.json"), "sweep").get("chosen")
        logged = [each for each in self.losses("learning_rate") if math.isfinite(each)]
        for value in (chosen, max(logged, default=None), self.train.get("learning_rate")):
            try:
                rate = float(value)  # type: ignore[arg-type]  # YAML 1.1 reads 2e-4 as a text
            except (TypeError, ValueError, OverflowError):
                continue
            if 0 < rate < math.inf:
                return rate
        return None

    def losses(self, name: str = "loss") -> list[float]:
        """In order; a loss that is no finite number is kept as it is."""
        return [float(line[name]) for line in self.metrics if _is_number(line.get(name), text=True)]

    def template(self, part: str) -> str:
        """The chat template in `base` or `adapter`, or nothing."""
        folder = self.base if part == "base" else self.folder / part
        if not folder:
            return ""
        written = read_text(folder / "chat_template.jinja").strip()
        named = read_object(folder / "tokenizer_config.json").get("chat_template")
        return written or (named.strip() if isinstance(named, str) else "")


def read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def read_object(path: Path) -> Row:
    try:
        found = json.loads(read_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[Row]:
    return objects_in(read_text(path))


def tensors(file: Path) -> dict[str, list[int]]:
    """Name -> first and last byte of each tensor of a safetensors file, by its header; empty where that is broken."""
    try:
        with open(file, "rb") as data:
            (size,) = struct.unpack("<Q", data.read(8))
            header = json.loads(data.read(min(size, MOST_BYTES)))
            return {
                name: [8 + size + int(place) for place in value["data_offsets"]]
                for name, value in header.items()
                if name != "__metadata__"
            }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, struct.error):
        return {}


def moved(file: Path) -> bool | None:
    """Whether a LoRA file holds a B with anything but zeros; None where it cannot be told."""
    places = [place for name, place in tensors(file).items() if ".lora_B." in name and len(place) == 2]
    try:
        with open(file, "rb") as data:
            for start, end in places:
                data.seek(start)
                if data.read(min(end - start, MOST_BYTES)).strip(b"\0"):
                    return True
    except (OSError, ValueError, OverflowError):
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
    return known and (abs(value) < LARGEST or (text and isinstance(value, float)))
