"""The script for Unsloth, compiled, and its calls held against the signatures in Unsloth's and TRL's own source.

Unsloth itself refuses to be imported without a GPU, so nothing of it is run.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import job, report


def parameters(file: Path, owner: str, method: str) -> set[str]:
    """The parameters of a method, read from the source."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == owner:
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name == method:
                    return {argument.arg for argument in [*each.args.args, *each.args.kwonlyargs]}
    raise SystemExit(f"{owner}.{method} is not in {file.name}")


def known() -> dict[str, set[str]]:
    """What each call of the script takes."""
    from peft import LoraConfig
    from transformers import EarlyStoppingCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    found = find_spec("unsloth")
    places = (found.submodule_search_locations if found else None) or []
    models = Path(next(iter(places))) / "models"
    adapter = parameters(models / "llama.py", "FastLlamaModel", "get_peft_model")
    takes: dict[str, Any] = {
        "FastLanguageModel.from_pretrained": parameters(models / "loader.py", "FastLanguageModel", "from_pretrained"),
        "FastLanguageModel.get_peft_model": adapter | {each.name for each in dataclasses.fields(LoraConfig)},
        "EarlyStoppingCallback": set(inspect.signature(EarlyStoppingCallback.__init__).parameters),
        "load_dataset": {"data_files"},
    }
    for config in (SFTConfig, DPOConfig):
        takes[config.__name__] = {each.name for each in dataclasses.fields(config)}
    for trainer in (SFTTrainer, DPOTrainer):
        takes[trainer.__name__] = set(inspect.signature(trainer.__init__).parameters)
    return takes


def main() -> None:
    config, folder = job()
    text = (folder / config).read_text(encoding="utf-8")
    compile(text, config, "exec")
    takes, unknown, values = known(), list[str](), dict[str, Any]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and node.keywords:
            name = ast.unparse(node.func)
            for keyword in node.keywords:
                if keyword.arg not in takes.get(name, set()):
                    unknown.append(f"{name}({keyword.arg})")
                if isinstance(keyword.value, ast.Constant):
                    values[str(keyword.arg)] = keyword.value.value
    rows = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in (folder / "data").iterdir()}
    report(version=f"{version('unsloth')}, trl {version('trl')}", unknown=unknown, values=values, rows=rows)


main()
