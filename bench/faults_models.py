"""Model folders with one thing made wrong, for `faults.py`; copies of the default model, nothing is kept."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from executor.prepare_model import prepare_model
from tools.base_model import resolve_model

TEMPLATES = {
    "llama2 template": (
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} {{ eos_token }}"
        "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
    ),
    "llama3 template": (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "plain template": (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}### assistant:\n{% endif %}"
    ),
    "pad is eos": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}
"""of other families; of this one without the end of a turn, as where padding and end are masked together"""
LARGE = 3e4
"""what the last layer's MLP is multiplied by: bfloat16 holds the sums, float16 ends at 65,504"""


def changed_model(change: str, home: Path) -> Path:
    """A copy of the default model in `home` with that change."""
    source = prepare_model(resolve_model(None), lambda line: print(line, file=sys.stderr))
    folder = home / "model"
    shutil.copytree(source, folder)
    if change in TEMPLATES:
        (folder / "chat_template.jinja").write_text(TEMPLATES[change], encoding="utf-8")
    if change == "pad is eos":
        file = folder / "tokenizer_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(config | {"pad_token": config["eos_token"]}), encoding="utf-8")
    if change == "large activations":
        file = folder / "model.safetensors"
        weights = load_file(file)
        last = max(
            (name for name in weights if name.endswith("up_proj.weight")), key=lambda name: int(name.split(".")[2])
        )
        weights[last] = (weights[last].float() * LARGE).to(torch.bfloat16)
        save_file(weights, file, metadata={"format": "pt"})
    return folder


def without_gradient(run: Path) -> None:
    """As if no gradient had reached the adapter: norms 0, the loss of the base throughout, B still zero."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    start = next(line["eval_loss"] for line in lines if "eval_loss" in line)
    for line in lines:
        line |= {"eval_loss": start} if "eval_loss" in line else {"grad_norm": 0.0, "loss": start}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    file = run / "adapter" / "adapter_model.safetensors"
    weights = {name: value * (".lora_B." not in name) for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
