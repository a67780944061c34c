"""Base model and adapter, loaded for the device at hand. Safetensors only, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from executor.hardware import hardware
from executor.spec import LoraSpec


def device() -> torch.device:
    return torch.device("cuda" if hardware().device == "cuda" and torch.cuda.is_available() else "cpu")


def load_base(folder: Path, dtype: str) -> Any:
    """The base model in evaluation mode. `dtype` is `bfloat16` or `float32`."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    return model.to(device()).eval()


def add_lora(base: Any, spec: LoraSpec, seed: int) -> Any:
    """`base` with a fresh adapter in float32 (it learns in small steps that bfloat16 would round away)."""
    torch.manual_seed(seed)
    targets = spec.target_modules if isinstance(spec.target_modules, str) else list(spec.target_modules)
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def load_adapter(base: Any, folder: Path) -> Any:
    """`base` with a saved adapter, as plain peft loads it."""
    return PeftModel.from_pretrained(base, str(folder)).to(device()).eval()


def save_adapter(model: Any, base_folder: Path, folder: Path) -> None:
    """The PEFT layout, with tokenizer and chat template, and the base named by its local folder."""
    model.peft_config["default"].base_model_name_or_path = str(base_folder)
    model.save_pretrained(str(folder), safe_serialization=True)
    AutoTokenizer.from_pretrained(base_folder, local_files_only=True).save_pretrained(str(folder))


def trainable(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
