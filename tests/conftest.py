"""What every test stands on: a workspace of its own, no network, and a tiny model made here."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from executor.files import sha256_rows
from executor.home import cache, runs_folder
from executor.run_folder import RunFolder, create_run
from executor.spec import STAGES, DataSpec, EvaluateSpec, LoraSpec, ModelSpec, RunSpec, TrainSpec
from executor.template import ChatTemplate

ROOT = Path(__file__).parents[1]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "Name the kind of thing that the message speaks of. Answer with one word: colour, animal or fruit."
KINDS = {
    "colour": ("red", "blue", "green", "yellow", "purple", "orange", "black", "white", "brown", "pink"),
    "animal": ("dog", "cat", "horse", "sheep", "goat", "tiger", "lion", "mouse", "rabbit", "whale"),
    "fruit": ("apple", "pear", "plum", "cherry", "grape", "melon", "peach", "mango", "lemon", "banana"),
}
PLACES = ("today we saw {} by the river", "my neighbour painted a picture with {} and then went home")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CACHE = str(cache())
os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as in a run process: waiting threads leave the cores to others
os.environ.setdefault(
    "CUDA_VISIBLE_DEVICES", ""
)  # the same numbers on every machine; CUDA_VISIBLE_DEVICES=0 for tests marked gpu

settings.register_profile("house", deadline=None)  # the cores may be busy with something else
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    config.option.reportchars += "s"  # why a test was skipped is always told


def examples() -> list[tuple[str, str]]:
    """60 messages and their labels; no two are near-duplicates."""
    words = [(word, kind) for place in range(10) for kind, known in KINDS.items() for word in [known[place]]]
    return [(place.format(word), kind) for place in PLACES for word, kind in words]


def chat_rows(count: int = 60) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": text},
                {"role": "assistant", "content": label},
            ]
        }
        for text, label in examples()[:count]
    ]


def pair_rows(count: int = 60) -> list[dict[str, Any]]:
    """The right label is chosen, the next one rejected."""
    kinds = sorted(KINDS)
    wrong = dict(zip(kinds, [*kinds[1:], kinds[0]], strict=True))
    return [
        {**row, "rejected": {"role": "assistant", "content": wrong[row["messages"][-1]["content"]]}}
        for row in chat_rows(count)
    ]


def write_examples(path: Path) -> Path:
    """The 60 examples as a CSV file with two columns."""
    with open(path, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("message", "kind"), *examples()])
    return path


@dataclass(frozen=True)
class Answer:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on standard output; anything more or less fails here."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def passing_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what tests prepare from tiny models."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, passing_cache: Path) -> None:
    """A workspace for each test, the user's cache of models for tests on a real one, no keys, no network."""
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FINETUNE_CACHE", CACHE if "real" in request.keywords else str(passing_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("FINETUNE_MODEL", "FINETUNE_BASE_URL", "OPENAI_API_KEY", "TOGETHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if "real" not in request.keywords:
        monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def only_here(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise RuntimeError(f"a test must not reach the network: {address}")
        return connect(self, address)

    return only_here


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A run process that is tested in this process sets handlers of its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama, a byte-level tokenizer trained on the spot, and the ChatML template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=2048, initializer_range=0.1, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def template(tiny_model: Path, tmp_path: Path) -> Callable[[str], ChatTemplate]:
    """The tiny model's tokenizer under another template."""

    def make(source: str) -> ChatTemplate:
        folder = tmp_path / "templated"
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
        return ChatTemplate(folder)

    return make


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|im_start|>", "<|im_end|>", "<pad>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([SYSTEM, *(text for text, _ in examples()), "system user assistant"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """The tiny model in float32, loaded anew."""
    from executor.train.model import load_base

    return load_base(tiny_model, "float32")


def make_run(
    tiny_model: Path,
    kind: str = "train",
    rows: list[dict[str, Any]] | None = None,
    evaluate: dict[str, Any] | None = None,
    lora: dict[str, Any] | None = None,
    **train: Any,
) -> RunFolder:
    """A run folder in the workspace: 40 training, 8 validation and 12 test rows unless other rows are given."""
    rows = rows or chat_rows()
    parts = {"train": rows[:40], "validation": rows[40:48], "test": rows[48:]}
    labels = tuple(sorted(KINDS))
    usual = {"steps": 6, "learning_rate": 5e-3, "dtype": "float32", "threads": 1, "checkpoint_every": 2}
    spec = RunSpec(
        kind=kind,
        stages=STAGES[kind],
        model=ModelSpec(name="tiny", source="folder", folder=str(tiny_model)),
        data=DataSpec(path="/nowhere/things.csv", version="0" * 64, kind="label", labels=labels),
        lora=LoraSpec(**(lora or {})),
        train=TrainSpec(**(usual | train)),
        evaluate=EvaluateSpec(**({"systems": ("zero_shot", "few_shot"), "suites": ("arithmetic",)} | (evaluate or {}))),
    )
    parts = {name: part for name, part in parts.items() if part}
    sealed = {name: {"rows": len(part), "sha256": sha256_rows(part)} for name, part in parts.items()}
    return create_run(spec, parts, {"version": spec.data.version, "splits": sealed, "source": {}, "lineage": []})


@pytest.fixture
def new_run(tiny_model: Path) -> Callable[..., RunFolder]:
    """Makes run folders on the tiny model."""
    return partial(make_run, tiny_model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one training of this module is kept."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def run(new_run: Callable[..., RunFolder], trained: Path) -> RunFolder:
    """A tuned run, trained once and copied into each test's workspace."""
    from executor.__main__ import main

    kept = next(trained.iterdir(), None)
    if kept is None:
        made = new_run("go", evaluate={"systems": ("zero_shot",), "suites": ()}, steps=4)
        assert main(str(made.path)) == 0
        kept = Path(shutil.copytree(made.path, trained / made.name))
        shutil.rmtree(made.path)
    return RunFolder(Path(shutil.copytree(kept, runs_folder() / kept.name)))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The examples as a CSV file of this test."""
    return write_examples(tmp_path / "things.csv")


@pytest.fixture
def finetune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line in this process."""
    from agent.cli import main

    def call(*words: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["finetune", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        written = capsys.readouterr()
        return Answer(int(end.value.code or 0), written.out, written.err)

    return call


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run to their end in this process when they are started: no second start of torch; the suites are short."""
    from executor.__main__ import main
    from executor.evaluate import suites

    whole = suites.load

    def run_here(run: RunFolder) -> RunFolder:
        with open(run.log_file, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            main(str(run.path))
        return run

    for module in ("tools.jobs", "tools.train"):
        monkeypatch.setattr(f"{module}.start", run_here)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    monkeypatch.setattr(suites, "load", lambda name: whole(name).model_copy(update={"items": whole(name).items[:4]}))


def command(*words: object, home: Path, timeout: float = 120, **environment: str) -> Answer:
    """`python -m agent` in a process of its own, in the workspace `home`."""
    done = subprocess.run(
        [sys.executable, "-m", "agent", *map(str, words)],
        capture_output=True, text=True, timeout=timeout, cwd=home.parent,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "FINETUNE_HOME": str(home), **environment},
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Finished:
    """The whole job, done once for all tests by a real run process on the tiny model."""

    answer: Answer
    run: RunFolder
    home: Path


@pytest.fixture(scope="session")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp("finished") / "home"
    home.mkdir()
    data = write_examples(home.parent / "things.csv")
    answer = command("go", data, "--base-model", tiny_model, "--yes", "--json", home=home)
    assert answer.code in (0, 1), answer.err + answer.out
    return Finished(answer, RunFolder(Path(answer.json["run"])), home)
