"""How a tuned model is to be delivered: a part of the spec of an export."""

from __future__ import annotations

from typing import Literal

from executor.hub_spec import HubSpec
from executor.spec_part import Part

Target = Literal["merged", "gguf", "ollama", "vllm", "hub"]
Quant = Literal["bf16", "f16", "q8_0", "q4_0", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k"]
K_QUANTS = ("q3_k_m", "q4_k_m", "q5_k_m", "q6_k")
"""of llama.cpp's own quantiser alone"""
QUANTISER = "llama-quantize"


class ExportSpec(Part):
    """A form in which the tuned model is delivered."""

    target: Target
    out: str
    """the folder, absolute"""
    overwrite: bool = False
    """replace an export that is there"""
    quant: Quant = "bf16"
    """of a GGUF file"""
    hub: HubSpec | None = None
    """target hub: where it is pushed"""
