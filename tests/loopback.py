"""A server of real HTTP on loopback, until the block ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Quiet(BaseHTTPRequestHandler):
    """Says nothing of its own, and answers with JSON."""

    def do_POST(self) -> None:
        self.post(
            json.loads(self.rfile.read(int(self.headers["content-length"]))), self.headers.get("authorization", "")
        )

    def post(self, request: dict[str, Any], key: str) -> None:
        raise NotImplementedError

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Nothing."""


@contextmanager
def listening(handler: type[Quiet]) -> Iterator[int]:
    """Its port."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        http.server_close()
