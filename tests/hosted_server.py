"""Servers that speak OpenAI's and Together's fine-tuning APIs over real HTTP, and remember all that was said."""

from __future__ import annotations

import email
import email.policy
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chat_server
from conftest import Answer
from loopback import Quiet, listening

CAP = 20
"""most rows of a page, whatever is asked for"""
STEPS = 45
NOW = int(time.time())
WAY = ("validating_files", "queued", "running", "succeeded")
TOGETHER_WAY = ("pending", "queued", "running", "uploading", "completed")
CHAT = "/chat/completions"
Body = dict[str, Any]
KEY = "sk-test-91c4e7a2b05d"
Hosted = Callable[..., Answer]
"""what the fixtures `hosted` and `submit` are"""


def written(path: Path, rows: list[Body]) -> Path:
    """The rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass
class Said:
    """One exchange."""

    method: str
    path: str
    query: dict[str, str]
    sent: Any
    status: int
    answer: Any


@dataclass
class Provider:
    """What a provider holds. `faults`: (method, path, status) that are answered first; `loses`: what it does when."""

    way: tuple[str, ...] = WAY
    key: str = ""
    port: int = 0
    marks: bool = True
    """False: it forgets the metadata of jobs"""
    files: list[Body] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: list[Body] = field(default_factory=list)
    events: dict[str, list[Body]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    faults: list[tuple[str, str, int]] = field(default_factory=list)
    hides: int = 0
    """times that a list of jobs is without the newest one"""
    still: bool = False
    """jobs stay as they are"""
    down: bool = False
    """every read fails"""
    loses: dict[str, str] = field(default_factory=dict)
    """path -> `before` or `after` doing it, the connection is closed without an answer; once"""
    moves: dict[str, str] = field(default_factory=dict)
    """path -> another server, to which its POST is redirected"""
    holds: str = ""
    """path whose POST waits for `release` and is then not answered; `reached` tells that it came"""
    done_first: bool = False
    """whether what is held is done before it waits"""
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    chat: chat_server.Server = field(default_factory=chat_server.Server)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self, method: str, path: str) -> list[Said]:
        return [each for each in self.said if (each.method, each.path) == (method, path)]

    def answer(self, method: str, path: str, query: dict[str, str], sent: Any, key: str) -> tuple[int, Any]:
        for place, (verb, part, status) in enumerate(self.faults):
            if verb == method and path.startswith(part):
                del self.faults[place]
                return status, wrong(f"no luck, {key}", "server_error")
        if self.down and method == "GET":
            return 503, wrong("down", "server_error")
        if self.key and key != f"Bearer {self.key}":
            return 401, wrong(f"Incorrect API key provided: {key}", "invalid_api_key")
        return self.route(method, path, query, sent)

    def route(self, method: str, path: str, query: dict[str, str], sent: Any) -> tuple[int, Any]:
        if path == CHAT:
            return self.chat.answer(sent)
        if path == "/files":
            return (200, self.page(self.files[::-1], query)) if method == "GET" else (200, self.upload(sent))
        if path == "/fine_tuning/jobs":
            return (200, self.list_jobs(query)) if method == "GET" else self.create(sent)
        job = next((job for job in self.jobs if f"/{job['id']}/" in f"{path}/"), None)
        if job is None:
            return 404, wrong("no such job", "not_found")
        part = path.rpartition("/")[2]
        if part == "events":
            return 200, self.page(self.events[job["id"]][::-1], query)
        if part == "checkpoints":
            return 200, self.page(checkpoints(job), query)
        if part == "cancel":
            if job["status"] in ("succeeded", "failed", "cancelled"):
                return 400, wrong("Job has already completed", "invalid_request_error")
            job["status"] = "cancelled"
            self.tell(job, "Fine-tuning job cancelled")
        else:
            self.advance(job)
        return 200, job

    def page(self, rows: list[Body], query: dict[str, str]) -> Body:
        ids = [row["id"] for row in rows]
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        part = rows[start : start + min(CAP, int(query.get("limit", CAP)))]
        edge = {"first_id": part[0]["id"] if part else "", "last_id": part[-1]["id"] if part else ""}
        return {"object": "list", "data": part, "has_more": start + len(part) < len(rows), **edge}

    def list_jobs(self, query: dict[str, str]) -> Body:
        wanted = {key[9:-1]: value for key, value in query.items() if key.startswith("metadata[")}
        found = [job for job in self.jobs if wanted.items() <= (job["metadata"] or {}).items()]
        if self.hides:
            self.hides, found = self.hides - 1, [job for job in found if job is not self.jobs[-1]]
        page = self.page(found[::-1], {key: value for key, value in query.items() if not key.startswith("metadata")})
        return {key: page[key] for key in ("object", "data", "has_more")}

    def upload(self, sent: Body) -> Body:
        number = next(self.numbers)
        made = {
            "id": f"file-{number}", "object": "file", "bytes": len(sent["file"]), "created_at": NOW + number,
            "filename": sent["filename"], "purpose": sent["purpose"], "status": "processed",
        }  # fmt: skip
        self.files.append(made)
        self.contents[made["id"]] = sent["file"]
        return made

    def create(self, sent: Body) -> tuple[int, Body]:
        if sent["training_file"] not in self.contents:
            return 400, wrong("invalid training_file", "invalid_request_error")
        number = next(self.numbers)
        method = sent["method"]
        job = {
            "id": f"ftjob-{number}", "object": "fine_tuning.job", "created_at": NOW + number, "finished_at": None,
            "model": f"{sent['model']}", "fine_tuned_model": None, "organization_id": "org-1", "result_files": [],
            "status": self.way[0], "training_file": sent["training_file"], "trained_tokens": None, "error": None,
            "validation_file": sent.get("validation_file"), "seed": sent.get("seed", 0), "method": method,
            "hyperparameters": method[method["type"]]["hyperparameters"],
            "metadata": sent.get("metadata") if self.marks else None,
        }  # fmt: skip
        self.jobs.append(job)
        self.events[job["id"]] = []
        self.tell(job, f"Created fine-tuning job: {job['id']}")
        return 200, job

    def advance(self, job: Body) -> None:
        """One look, one step on its way."""
        place = self.way.index(job["status"]) if job["status"] in self.way and not self.still else len(self.way)
        if place + 1 >= len(self.way):
            return
        job["status"] = self.way[place + 1]
        if job["status"] == "running":
            for step in range(1, STEPS + 1):
                loss = 2.0 / step
                data = {"step": step, "train_loss": loss} | ({"valid_loss": loss + 0.1} if step % 10 == 0 else {})
                self.tell(job, f"Step {step}/{STEPS}: training loss={loss:.2f}", data)
        if job["status"] == "succeeded":
            job |= {"fine_tuned_model": f"ft:{job['model']}:org::1", "finished_at": NOW + 999, "trained_tokens": 12345}
            self.tell(job, "The job has successfully completed")

    def tell(self, job: Body, message: str, data: Body | None = None) -> None:
        number = next(self.numbers)
        self.events[job["id"]].append({
            "object": "fine_tuning.job.event", "id": f"ftevent-{number}", "created_at": NOW + number // 7,
            "level": "info", "message": message, "type": "metrics" if data else "message", "data": data or {},
        })  # fmt: skip


def checkpoints(job: Body) -> list[Body]:
    return [
        {
            "object": "fine_tuning.job.checkpoint", "id": f"ftckpt-{step}", "created_at": NOW, "step_number": step,
            "fine_tuned_model_checkpoint": f"ft:{job['model']}:org::1:ckpt-step-{step}",
            "fine_tuning_job_id": job["id"], "metrics": {"step": step, "full_valid_loss": 1.0 / step},
        }
        for step in (45, 30, 15)
    ]  # fmt: skip


def wrong(message: str, code: str) -> Body:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


class Together(Provider):
    """The same, by Together's paths and words."""

    def route(self, method: str, path: str, query: dict[str, str], sent: Any) -> tuple[int, Any]:
        if path == "/files/upload":
            return 200, self.upload(sent)
        if path == "/files":
            return 200, {"data": self.files}
        if path == "/fine-tunes":
            return (200, {"data": self.jobs}) if method == "GET" else self.create(sent)
        job = next((job for job in self.jobs if f"/{job['id']}/" in f"{path}/"), None)
        if job is None:
            return 404, wrong("no such job", "not_found")
        part = path.rpartition("/")[2]
        if part == "events":
            return 200, {"data": self.events[job["id"]]}
        if part == "metrics":
            return 200, {"metrics": [{"global_step": s, "train_loss": 2.0 / s} for s in range(1, 6)]}
        if part == "checkpoints":
            return 200, {"data": [{"step": 5, "created_at": "x", "path": "s3://x", "checkpoint_type": "final"}]}
        if part == "cancel":
            job["status"] = "cancel_requested"
        else:
            self.advance(job)
        return 200, job

    def create(self, sent: Body) -> tuple[int, Body]:
        number = next(self.numbers)
        kept = {key: sent[key] for key in ("model", "training_file", "n_epochs", "suffix")}
        stamp = "2026-11-28T10:00:00Z"
        job = {"id": f"ft-{number}", "status": self.way[0], "created_at": stamp, "updated_at": stamp, **kept}
        self.jobs.append(job)
        self.events[job["id"]] = []
        self.tell(job, "Fine tune request created")
        return 200, job

    def advance(self, job: Body) -> None:
        if job["status"] == "cancel_requested":
            job["status"] = "cancelled"
        if job["status"] in self.way[:-1]:
            job["status"] = self.way[self.way.index(job["status"]) + 1]
            self.tell(job, "Epoch completed")
            self.tell(job, "Epoch completed")
        if job["status"] == "completed":
            job["model_output_name"] = f"me/{job['model'].rpartition('/')[2]}-{job['suffix']}-0a1b2c3d"

    def tell(self, job: Body, message: str, data: Body | None = None) -> None:
        event = {"object": "fine-tune-event", "created_at": "2026-11-28T10:00:00Z", "level": "info"}
        self.events[job["id"]].append({**event, "message": message, "type": "EPOCH_COMPLETE"})


def multipart(content_type: str, body: bytes) -> Body:
    """The fields of a form; of the file its content and name."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    found: Body = {}
    for part in form.iter_parts():  # type: ignore[attr-defined]
        name, payload = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        found[name] = payload if name == "file" else payload.decode()
        if name == "file":
            found["filename"] = part.get_filename()
    return found


@contextmanager
def providing(state: Provider) -> Iterator[Provider]:
    """The server on loopback until the block ends."""

    class Handler(Quiet):
        def do_GET(self) -> None:  # noqa: N802
            self.handle_one(lambda: None)

        def do_POST(self) -> None:  # noqa: N802
            self.handle_one(self.form)

        def form(self) -> Any:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kind = self.headers.get("content-type", "")
            return multipart(kind, body) if kind.startswith("multipart/") else json.loads(body) if body else None

        def handle_one(self, read: Callable[[], Any]) -> None:
            url, sent, key = urlsplit(self.path), read(), self.headers.get("authorization", "")
            path, query = url.path.removeprefix("/v1"), dict(parse_qsl(url.query))
            if self.command == "POST" and path in state.moves:
                return self.move(state.moves[path] + path)
            lost = state.loses.pop(path, "") if self.command == "POST" else ""
            held = self.command == "POST" and path == state.holds
            if lost == "before" or (held and not state.done_first):
                return self.leave(held)
            status, body = state.answer(self.command, path, query, sent, key)
            state.said.append(Said(self.command, path, query, sent, status, json.loads(json.dumps(body))))
            if lost == "after" or held:
                return self.leave(held)
            return self.answer(status, json.dumps(body).encode())

        def move(self, to: str) -> None:
            self.send_response(307)
            self.send_header("location", to)
            self.send_header("content-length", "0")
            self.end_headers()

        def leave(self, held: bool) -> None:
            """Close the connection without a word."""
            if held:
                state.holds = ""
                state.reached.set()
                state.release.wait(60)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    with listening(Handler) as state.port:
        yield state
