"""The server's process: `python -P -m executor.serve` with a target's words; it ends when its stdin does.

It prints one line of JSON, `{"url"}` when it listens or `{"error"}`. The key comes by the environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from executor.errors import FinetuneError, UserError
from executor.serve.launch import KEY, Target


def main() -> int:
    target = Target.from_words(sys.argv[1:])
    key = os.environ.pop(KEY, None)
    try:
        (serve_gguf if target.kind == "gguf" else serve_model)(target, key)
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


def serve_gguf(target: Target, key: str | None) -> None:
    """By llama.cpp, in C++; it holds the interpreter only while it starts."""
    from executor.serve.llama_cpp import start

    server = start(target, key)
    tell({"url": f"{server.listening_address}/v1"})
    sys.stdin.read()


def serve_model(target: Target, key: str | None) -> None:
    listening = bound(target.host, target.port)
    import uvicorn

    from executor.serve.api import application
    from executor.serve.model import Model

    tuned = Path(target.path) if target.kind == "run" else None
    model = Model(target.name, Path(target.base or target.path), tuned, target.dtype)
    config = uvicorn.Config(application(model, key), log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    listening.listen()  # who is told the address may come at once
    host = f"[{target.host}]" if ":" in target.host else target.host
    tell({"url": f"http://{host}:{listening.getsockname()[1]}/v1"})
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
