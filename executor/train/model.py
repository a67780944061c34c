"""Base model and adapter, loaded for the device at hand. Safetensors only, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import Linear
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from executor.errors import UserError
from executor.hardware import hardware
from executor.spec import LoraSpec, RunSpec


def device() -> torch.device:
    return torch.device("cuda" if hardware().device == "cuda" and torch.cuda.is_available() else "cpu")


def load_base(folder: Path, dtype: str) -> Any:
    """The base model in evaluation mode. `dtype` is `bfloat16` or `float32`; weights in 4 bits stay in 4 bits."""
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes packs 4-bit weights anew for inference and unpacks them for training, with other scales
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def quantise(folder: Path, target: Path) -> None:
    """Save the model in `folder` with its linear layers in NF4, double quantisation, computed in bfloat16 (QLoRA).

    The folder loads offline like any other, so an adapter trained on it names it as its base.
    """
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.bfloat16,
        quantization_config=config,
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(target)


def to_train(folder: Path, spec: RunSpec) -> Any:
    """The model of `folder` with what the spec's method trains: a fresh adapter, or all of its weights in float32."""
    if spec.train.method == "full":
        return load_base(folder, "float32").requires_grad_()
    return add_lora(load_base(folder, spec.train.dtype), spec.lora, spec.train.seed, dora=spec.train.method == "dora")


def add_lora(base: Any, spec: LoraSpec, seed: int, dora: bool = False) -> Any:
    """`base` with a fresh adapter in float32 (it learns in small steps that bfloat16 would round away)."""
    torch.manual_seed(seed)
    targets = spec.target_modules if isinstance(spec.target_modules, str) else list(spec.target_modules)
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=targets,
        use_rslora=spec.rslora,
        use_dora=dora,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        linear = {name.rpartition(".")[2] for name, module in base.named_modules() if isinstance(module, Linear)}
        fix = f"Name layers of this model, such as {', '.join(sorted(linear)[:7])}, or all-linear."
        named = targets if isinstance(targets, str) else ", ".join(targets)
        what = f"Target modules {named} not found in the base model"
        raise UserError(what, "lora.target_modules", fix) from error


def load_adapter(base: Any, folder: Path) -> Any:
    """`base` with a saved adapter, as plain peft loads it."""
    return PeftModel.from_pretrained(base, str(folder)).to(device()).eval()


def save_model(model: Any, base_folder: Path, folder: Path, dtype: str) -> None:
    """A fully trained model with its tokenizer, in the number format that it is used in."""
    model.to(getattr(torch, dtype)).save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(base_folder, local_files_only=True).save_pretrained(str(folder))


def save_adapter(model: Any, base_folder: Path, folder: Path) -> None:
    """The PEFT layout, with tokenizer and chat template, and the base named by its local folder."""
    model.peft_config["default"].base_model_name_or_path = str(base_folder)
    model.save_pretrained(str(folder), safe_serialization=True)
    AutoTokenizer.from_pretrained(base_folder, local_files_only=True).save_pretrained(str(folder))


def trainable(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
