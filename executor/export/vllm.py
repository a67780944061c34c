"""The command that serves an adapter with vLLM, and what vLLM would refuse."""

from __future__ import annotations

import shlex
from pathlib import Path

from executor.errors import UserError
from executor.files import read_json

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""values that --max-lora-rank takes"""


def command_of(tuned: Path, base: Path) -> str:
    """Raises UserError for an adapter that vLLM does not load."""
    file = tuned / "adapter_config.json"
    if not file.exists():
        return f"vllm serve {shlex.quote(str(tuned))}"
    config = read_json(file)
    if config.get("use_dora"):
        raise UserError("vLLM does not load DoRA adapters", str(file), "Export --to merged, and serve that.")
    if config.get("modules_to_save"):
        raise UserError("vLLM does not load adapters with whole modules beside them", str(file), "Export --to merged.")
    rank = next((each for each in RANKS if each >= int(config["r"])), None)
    if rank is None:
        what = f"vLLM takes ranks up to {RANKS[-1]}; this one has {config['r']}"
        raise UserError(what, str(file), "Export --to merged, and serve that.")
    return (
        f"vllm serve {shlex.quote(str(base))} --enable-lora --max-lora-rank {rank} --lora-modules tuned=./adapter "
        "--chat-template-content-format string"
    )
