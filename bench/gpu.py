"""LoRA and QLoRA on one GPU, beside TRL on the same card: real tokens per second, peak memory, share of peak FLOP/s.

SmolLM2 and Llama shapes of 1B and 8B with random weights, so that nothing is fetched; every measurement in a process of
its own. Predictions are made before the training and told beside what was measured. The first steps are left out of a
rate. `python bench/gpu.py`; without a GPU it says so. `--device cpu --tiny` shows that the way works.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from peers import RESULTS, ROOT
from train_data import Row, chat

from executor.hardware import Hardware, gpu, hardware
from executor.model_cache import is_whole, prepared_folder
from executor.template import ChatTemplate
from tools.base_model import resolve_model

SCRIPTS = Path(__file__).resolve().parent / "train_peers"
KEPT = Path(__file__).resolve().parent / "results"
FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "vocab_size", "tie_word_embeddings",
)  # fmt: skip
SHAPES: dict[str, tuple[Any, ...]] = {
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152, True),
    "llama-1b": (2048, 8192, 16, 32, 8, 128256, True),
    "llama-8b": (4096, 14336, 32, 32, 8, 128256, False),
}
TINY: dict[str, tuple[Any, ...]] = {"tiny": (64, 128, 2, 2, 2, 49152, True)}
PEAKS = {
    "H100 PCIe": 756e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12,
    "RTX 4090": 165e12,
}  # fmt: skip
"""bfloat16 without sparsity, from the makers' data sheets; of another card, what its matrix products reach"""
WORKLOADS = {"plain": 0.0, "shared": 0.75}
"""share of the words that all rows begin with"""
ROW_WORDS, TINY_WORDS = 512, 64
VOCABULARY = "when where which card order money bill parcel late lost change please today account number wrong help"
WORDS = VOCABULARY.split()
Found = dict[str, Any]


def rows_of(shared: int, words: int, rng: random.Random) -> list[Row]:
    """64 rows; without a shared beginning, the system message differs from its first word on."""
    common = " ".join(rng.choices(WORDS, k=shared))
    rows = []
    for number in range(64):
        own = [str(rng.random()), *rng.choices(WORDS, k=rng.randint((words - shared) // 2, words - shared))]
        system = common or f"{number} is your number"
        rows.append(chat(system, " ".join(own), " ".join(rng.choices(WORDS, k=words // 16))))
    return rows


def layer_parameters(shape: tuple[Any, ...]) -> int:
    """Of the layers' linear parts, without embedding and head."""
    hidden, inner, layers, heads, groups = shape[:5]
    return int(layers * (2 * hidden * hidden + 2 * hidden * hidden * groups // heads + 3 * hidden * inner))


def run(script: str, job: Found, device: str) -> Found | None:
    Path(job["out"]).mkdir(parents=True, exist_ok=True)
    file = Path(job["out"]) / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    environment = {
        "GOMP_SPINCOUNT": "5000",
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(ROOT),
    }
    environment |= {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    program = [sys.executable, str(SCRIPTS / f"{script}_peer.py"), str(file)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=job["out"])
    if done.returncode != 0:
        print(f"left out: {script} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}", flush=True)
        return None
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def embedded() -> Path | None:
    """The folder of the embedded model, where it was prepared before."""
    folder = prepared_folder(resolve_model(None))
    return folder if is_whole(folder) else None


def make_model(name: str, shape: tuple[Any, ...], folder: Path, device: str) -> tuple[Path, float] | None:
    """The model's folder, and what matrix products reach here."""
    tokenizer = embedded()
    job = {"device": device, "out": str(folder / name), "tokenizer": str(tokenizer) if tokenizer else None}
    found = run("shapes", job | {"words": VOCABULARY, "shape": dict(zip(FIELDS, shape, strict=True))}, device)
    return (folder / name, found["matmul_flops"]) if found else None


def compare(job: Found, shape: tuple[Any, ...], tokens: float, peak: float, options: argparse.Namespace) -> Found:
    """Ours and TRL on the same rows, and the share of `peak` that each reaches: by the rows, computed or shared."""
    found: Found = {}
    for system, script in (("ours", "direct"), ("trl", "trl")):
        one = run(script, job | {"out": f"{job['out']}-{system}"}, options.device)
        if one is None:
            continue
        warm = (job["steps"] - job["skip"]) * job["batch_size"] * tokens / one["warm_seconds"]
        # frozen weights: two operations forward and two backward for each parameter and token
        one |= {"tokens_per_second": warm, "share_of_peak": warm * 4 * layer_parameters(shape) / peak}
        found[system] = one
    return found


def table_lines(label: str, found: Found) -> str:
    lines = []
    for system, one in found.items():
        ratio = found["ours"]["tokens_per_second"] / one["tokens_per_second"] if "ours" in found else float("nan")
        text = f"| {label} | {system} | {one['tokens_per_second']:,.0f} | {ratio:.2f} x | {one['peak_mib']:,} | "
        text += f"{one['share_of_peak']:.1%} | {one['seconds']:.1f} | {foretold(one.get('predicted'))} |"
        lines.append(text)
    return "\n".join(lines)


def foretold(predicted: Found | None) -> str:
    if not predicted:
        return "-"
    seconds, memory = (predicted[key]["expected"] for key in ("seconds", "memory_bytes"))
    return f"{seconds:.1f} s, {memory >> 20:,} MiB"


def measure(device: Hardware, folder: Path, options: argparse.Namespace) -> Found:
    results: Found = {}
    rng = random.Random(options.seed)
    shapes, words = (TINY, TINY_WORDS) if options.tiny else (SHAPES, ROW_WORDS)
    print("| model | method | rows | system | real tokens/s | ours is | peak MiB | of peak | seconds | predicted |")
    print("|---|---|---|---|---:|---:|---:|---:|---:|---|")
    for name in [each for each in shapes if options.models is None or each in options.models]:
        made = make_model(name, shapes[name], folder, options.device)
        if made is None:
            continue
        model, reached = made
        peak = next((flops for card, flops in PEAKS.items() if card in device.name), reached)
        for kind, share in WORKLOADS.items():
            rows = rows_of(int(share * words), words, rng)
            data = folder / f"{kind}.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            template = ChatTemplate(model)
            tokens = sum(template.count(row["messages"]) for row in rows) / len(rows)
            for method in options.methods:
                job = job_of(model, data, method, folder, options)
                found = compare(job, shapes[name], tokens, peak, options)
                print(table_lines(f"{name} | {method} | {kind}, {tokens:.0f} tokens", found), flush=True)
                results[f"{name} {method} {kind}"] = found | {"matmul_flops": reached, "peak_flops": peak}
    return results


def job_of(model: Path, data: Path, method: str, folder: Path, options: argparse.Namespace) -> Found:
    bfloat16 = options.device == "cuda" or hardware().bfloat16
    return {
        "model": str(model), "train": str(data), "out": str(folder / f"{model.name}-{method}-{data.stem}"),
        "cache": str(folder / "cache"), "method": method, "device": options.device, "steps": options.steps,
        "epochs": options.steps * options.batch_size / 64, "skip": min(options.skip, options.steps - 1),
        "batch_size": options.batch_size, "learning_rate": 1e-4, "warmup_steps": 1, "max_length": 4096,
        "dropout": 0.0, "dtype": "bfloat16" if bfloat16 else "float32", "seed": options.seed,
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="one tiny shape; nothing is kept")
    parser.add_argument("--models", nargs="+", choices=list(SHAPES))
    parser.add_argument("--methods", nargs="+", choices=["lora", "qlora"], default=["lora", "qlora"])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--skip", type=int, default=4, help="first steps that do not count")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    device = gpu() if options.device == "cuda" else hardware()
    if device is None:
        print("no NVIDIA GPU here: nothing measured")
        return 0
    today = date.today().isoformat()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(device, Path(folder), options)
    name = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")
    target = (RESULTS if options.tiny else KEPT) / f"gpu-{name}-{today}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {"date": today, "hardware": device.model_dump(), "options": vars(options), "results": results}
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if results and all({"ours", "trl"} <= found.keys() for found in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
