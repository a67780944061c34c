"""Where things live: the workspace (datasets, runs, chats) and the cache of models."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def workspace() -> Path:
    """`FINETUNE_HOME`, or `.finetune` in the current folder. Not created here."""
    return Path(os.environ.get("FINETUNE_HOME") or ".finetune").absolute()


def cache() -> Path:
    """`FINETUNE_CACHE`, or the platform's cache folder. Not created here."""
    named = os.environ.get("FINETUNE_CACHE")
    return Path(named).absolute() if named else user_cache_path("fine-tuning-assistant")


def runs_folder() -> Path:
    return workspace() / "runs"


def chats_folder() -> Path:
    return workspace() / "chats"
