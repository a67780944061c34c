"""A Llama of a given shape with random weights, with a tokenizer and a chat template, as transformers saves it.

Also what the device's matrix products reach, in operations a second: a bound that no training can pass.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from common import read_job, report
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def small_tokenizer(words: str) -> Any:
    """Byte-level BPE trained on a few words, for a machine that has no model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([words, "system user assistant"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


def matmul_rate(device: str, size: int) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        settle(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        settle(device)
        best = min(best, (time.perf_counter() - start) / 10)
    return 2 * size**3 / best


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    job = read_job()
    device, out = job["device"], Path(job["out"])
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch cannot use the GPU here: it is a build for the CPU, or the driver is too old")
    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"]) if job["tokenizer"] else small_tokenizer(job["words"])
    tokenizer.save_pretrained(out)
    config = LlamaConfig(
        **job["shape"],
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.save_pretrained(out)
    report(matmul_flops=matmul_rate(device, 8192 if device == "cuda" else 1024))


if __name__ == "__main__":
    main()
