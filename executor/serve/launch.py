"""Start a server process and know when it listens. Light: no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

from executor.errors import FinetuneError, ServiceError, UserError
from executor.launch import child_environment

KEY = "FINETUNE_SERVE_KEY"
"""the environment variable by which the process gets its key: a command line is seen by everybody"""
Log = IO[bytes] | int | None
"""where its messages go; None: stderr"""
PATIENCE = 5.0
"""seconds for it to end before it is killed"""


@dataclass(frozen=True)
class Target:
    """What to serve, and where."""

    kind: Literal["run", "folder", "gguf", "llama"]
    """llama: a GGUF file in llama.cpp's own server, with all that it offers; gguf: that behind ours"""
    path: str
    """the adapter or tuned model of a run, a model folder, a GGUF file"""
    name: str
    base: str
    """of a run: the folder of its base model"""
    dtype: str
    host: str
    port: int = 0
    """0: a free one"""
    context: int = 0
    """of a GGUF file: tokens; 0: what the model was trained for"""
    threads: int = 0
    """of a GGUF file; 0: every core"""

    def words(self) -> list[str]:
        return [str(value) for value in asdict(self).values()]

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Target:
        given: dict[str, Any] = dict(zip((each.name for each in fields(cls)), words, strict=True))
        return cls(**given | {name: int(given[name]) for name in ("port", "context", "threads")})


class Serving:
    """A server process; it ends with `close`, and with the program that started it."""

    def __init__(self, target: Target, key: str | None = None, log: Log = subprocess.DEVNULL) -> None:
        """Returns when it listens. Raises what kept it from that."""
        command = [sys.executable, "-P", "-m", "executor.serve", *target.words()]
        environment = child_environment(hub=False) | ({KEY: key} if key else {})
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True
        )
        try:
            self.url = self.listening(target)
        except BaseException:
            self.close()
            raise

    def listening(self, target: Target) -> str:
        for line in self.process.stdout or ():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and isinstance(found.get("url"), str):
                    return str(found["url"])
                if isinstance(found, dict) and "error" in found:
                    kind: type[FinetuneError] = ServiceError if found.get("exit_code") == 4 else UserError
                    raise kind(**found["error"])
        raise ServiceError("The server ended before it listened", target.path, "Try again; see its messages.")

    def wait(self) -> int:
        """Its exit code, once it ended."""
        return self.process.wait()

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def model_folder(path: Path) -> bool:
    """Whether transformers can load the folder alone."""
    return (path / "config.json").exists() and any(path.glob("*.safetensors"))
