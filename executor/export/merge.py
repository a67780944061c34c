"""The adapter merged into its base, as one model in 16 bit that transformers loads alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from executor.train.model import load_adapter, load_base

KEPT = ("generation_config.json", "chat_template.jinja")
"""files of the base that say how it ends a turn and what a conversation looks like"""


def merge(base_folder: Path, tuned: Path, target: Path) -> Any:
    """Save the merged model with tokenizer and template into `target`; returns it.

    The sum is computed in float32 and rounded to bfloat16 once. A base in 4 bits is not merged into: the adapter goes
    onto the 16-bit base that it was made from, and the gate tells what that changes.
    """
    if (tuned / "adapter_config.json").exists():
        model = load_adapter(load_base(base_folder, "float32"), tuned).merge_and_unload(safe_merge=True)
    else:
        model = load_base(tuned, "float32")
    model = model.to(torch.bfloat16)
    model.save_pretrained(str(target), safe_serialization=True)
    AutoTokenizer.from_pretrained(tuned, local_files_only=True).save_pretrained(str(target))
    for name in KEPT:
        source = base_folder / name
        if source.exists() and not (name == "chat_template.jinja" and (target / name).exists()):
            shutil.copyfile(source, target / name)
    return model
