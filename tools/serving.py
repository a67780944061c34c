"""A tuned model behind an OpenAI-compatible server, and beside its base to try."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import shared_system
from executor.errors import UserError
from executor.export_folder import ADAPTER, told_of
from executor.files import read_json
from executor.model_cache import prepared_folder
from executor.run_folder import RunFolder, all_runs, find_run
from executor.serve.launch import KEY, Log, Serving, Target, model_folder
from executor.servers import LOOPBACK
from tools.base import Args, Result, Tool
from tools.evaluate import BASE, tuned_folder

MAGIC = b"GGUF"
BARE = "Asked without a system message: what it was tuned under is not known."


def serve(name: str, host: str, port: int, key: str | None, log: Log = None) -> Serving:
    """A server that listens; `log` gets its messages. Raises UserError for what cannot be served, or not so openly."""
    key = key or os.environ.get(KEY)
    if host not in LOOPBACK and not key:
        fix = "Give --key K (or FINETUNE_SERVE_KEY), or leave --host out."
        raise UserError("Whoever reaches this machine could ask the model without a key", f"--host {host}", fix)
    return Serving(target_of(name, host, port), key, log)


def target_of(name: str, host: str = "127.0.0.1", port: int = 0) -> Target:
    """What a run's name, a GGUF file or a model folder stands for."""
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        return gguf(path, host, port)
    if path.is_dir() and not (path / "status.json").exists():
        return delivered(path, host, port)
    run = find_run(name)
    spec = run.spec()
    if spec.export is not None:
        return target_of(spec.export.out, host, port)
    tuned = tuned_folder(run)
    return Target("run", str(tuned), run.name, str(base_of(run, tuned)), spec.train.dtype, host, port)


def gguf(file: Path, host: str, port: int) -> Target:
    """Raises UserError where the file is not there, or is none."""
    if not file.is_file():
        raise UserError(f"There is no file {file.name}", str(file), "Check the path.")
    with open(file, "rb") as data:
        if data.read(4) != MAGIC:
            raise UserError(
                f"{file.name} is no GGUF file", str(file), "Make one: finetune export RUN --to gguf -o DIR."
            )
    return Target("gguf", str(file), file.stem, "", "", host, port)


def delivered(folder: Path, host: str, port: int) -> Target:
    """A folder that an export wrote, or any that transformers loads."""
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return gguf(files[0], host, port)
    if (folder / ADAPTER / "adapter_config.json").exists():
        return adapted(folder, host, port)
    whole = folder / ADAPTER if model_folder(folder / ADAPTER) else folder  # full training, exported for vLLM
    if not model_folder(whole):
        fix = "Name a run, a GGUF file, or a folder with config.json and *.safetensors."
        raise UserError("Nothing to serve in this folder", str(folder), fix)
    return Target("folder", str(whole), folder.name, "", dtype_of(whole), host, port)


def adapted(folder: Path, host: str, port: int) -> Target:
    """An export for vLLM: its adapter on the base that it names. Raises UserError where that is not on this machine."""
    file = folder / ADAPTER / "adapter_config.json"
    try:
        base = Path(str(read_json(file)["base_model_name_or_path"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError("The adapter does not say what it stands on", str(file), "Export the run again.") from error
    if not model_folder(base):
        raise UserError(
            f"The base of this adapter is not here: {base}", str(file), "Serve the run, or export it again."
        )
    dtype = told_of(folder).get("dtype")
    known = dtype if dtype in ("float32", "float16", "bfloat16") else dtype_of(base)
    return Target("run", str(folder / ADAPTER), folder.name, str(base), known, host, port)


def dtype_of(folder: Path) -> str:
    dtype = read_json(folder / "config.json").get("dtype")
    return dtype if dtype == "float32" else "bfloat16"


def base_of(run: RunFolder, tuned: Path) -> Path:
    """The folder of the base that the tuned model stands on: as its adapter says, else as the run prepared it."""
    file = tuned / "adapter_config.json"
    named = Path(read_json(file)["base_model_name_or_path"]) if file.exists() else Path("/nowhere")
    return named if named.is_dir() else prepared_folder(run.spec().model)


def newest_tuned() -> str:
    """The newest run of the workspace that trained a model. Raises UserError where there is none."""
    for run in all_runs():
        if (run.adapter / "adapter_config.json").exists() or model_folder(run.model):
            return str(run.path)
    raise UserError("No model was trained in this workspace yet", "/try", "Train one: finetune go DATA.")


class Trial:
    """A tuned model and its base, loaded once, to be asked the same things."""

    def __init__(self, name: str) -> None:
        """Returns when they are loaded. Raises UserError where there is nothing to try."""
        target = target_of(name)
        self.models: tuple[str, ...] = (BASE, target.name) if target.kind == "run" else (target.name,)
        system = system_of(name)
        self.system = [{"role": "system", "content": system}] if system else []
        self.note = BARE if system is None else ""
        """what is to be said of it, once"""
        self.serving = Serving(target)

    def ask(self, model: str, turns: Sequence[dict[str, Any]]) -> Iterator[str]:
        """The answer in pieces, under the system message of the training. Raises ServiceError."""
        from executor.serve.client import stream  # the openai package takes half a second

        return stream(self.serving.url, model, [*self.system, *turns])

    def close(self) -> None:
        self.serving.close()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def system_of(name: str) -> str | None:
    """The system message that all test rows of a run or of an export's run share; empty for none, None: not known."""
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and not (path / "status.json").exists()):
        told = told_of(path if path.is_dir() else path.parent)
        system = told.get("system") or ""
        return system if told.keys() >= {"run", "system"} and isinstance(system, str) else None
    return shared_system(find_run(name).rows("test")) or ""  # an export has the rows of its run


class TryArgs(Args):
    run: str
    """the tuned run, a GGUF file or a model folder"""
    text: str
    """what to ask"""


class TryResult(Result):
    question: str
    answers: dict[str, str]
    """model -> what it said"""
    note: str = ""

    def text(self) -> str:
        told = [f"**{name}**\n\n{said or '(nothing)'}" for name, said in self.answers.items()]
        return "\n\n".join([*told, *([self.note] if self.note else [])])


def run_try(args: TryArgs) -> TryResult:
    with Trial(args.run) as trial:
        asked = [{"role": "user", "content": args.text}]
        said = {model: "".join(trial.ask(model, asked)).strip() for model in trial.models}
        return TryResult(question=args.text, answers=said, note=trial.note)


TRY = Tool(
    name="try_model",
    description=(
        "Ask a tuned model and its base the same question and show both answers: loads the model for a moment. For a "
        "feel; one answer proves nothing."
    ),
    args=TryArgs, result=TryResult, run=run_try, asks_first=True, command="finetune try {run} {text}",
)  # fmt: skip
