"""The server's process: `python -P -m executor.serve` with a target's words; it ends when its stdin does.

It prints one line of JSON, `{"url"}` when it listens or `{"error"}`. The key comes by the environment.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.errors import FinetuneError, UserError
from executor.serve.launch import KEY, Target


def main() -> int:
    target = Target.from_words(sys.argv[1:])
    key = os.environ.pop(KEY, None)
    try:
        {"llama": serve_llama, "gguf": serve_gguf}.get(target.kind, serve_model)(target, key)
    except FinetuneError as error:
        tell(error.as_json() | {"exit_code": error.exit_code})
        return error.exit_code
    except Exception as error:
        what = f"The model cannot be served: {' '.join(str(error).split())[:300]}"
        tell(UserError(what, target.path, "See its messages above.").as_json() | {"exit_code": 3})
        raise
    return 0


def tell(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def serve_llama(target: Target, key: str | None) -> None:
    """llama.cpp bare, for the proof of an export; it holds the interpreter only while it starts."""
    from executor.serve.llama_cpp import start

    server = start(target, key)
    tell({"url": f"{server.listening_address}/v1"})
    sys.stdin.read()


def serve_gguf(target: Target, key: str | None) -> None:
    """llama.cpp behind our own server: bare it would answer any web page."""
    from executor.serve.llama_cpp import start
    from executor.serve.relay import Relay

    listening, inner = bound(target.host, target.port), secrets.token_hex(16)
    server = start(replace(target, host="127.0.0.1", port=0), inner)
    listen(listening, target.host, Relay(target.name, f"{server.listening_address}/v1", inner), key)


def serve_model(target: Target, key: str | None) -> None:
    listening = bound(target.host, target.port)
    quiet()
    from executor.serve.model import Model

    tuned = Path(target.path) if target.kind == "run" else None
    listen(listening, target.host, Model(target.name, Path(target.base or target.path), tuned, target.dtype), key)


def quiet() -> None:
    """What libraries say of themselves while they load is nothing that a server's user can act on."""
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def listen(listening: socket.socket, host: str, answerer: Any, key: str | None) -> None:
    """Tell the address and answer until stdin ends."""
    import uvicorn

    from executor.serve.api import application

    config = uvicorn.Config(
        application(answerer, key), log_level="warning", lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    listening.listen()  # who is told the address may come at once
    shown = f"[{host}]" if ":" in host else host
    tell({"url": f"http://{shown}:{listening.getsockname()[1]}/v1"})
    threading.Thread(target=end_with_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listening])


def bound(host: str, port: int) -> socket.socket:
    """A listening socket before the model is loaded. Raises UserError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        what = f"Cannot listen on {host}:{port}: {error.strerror}"
        raise UserError(what, "--port", "Give another --port, or 0 for a free one.") from error
    return listening


def end_with_parent(server: Any) -> None:
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
