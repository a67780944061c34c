"""A Hugging Face hub on loopback, as `huggingface_hub` really speaks to one: repositories, large files, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import yaml
from loopback import Quiet, listening

TOKEN = "hf_" + "Zq7" * 11
USER = "me"
LARGE = (".safetensors", ".gguf", ".bin")


@dataclass
class Repo:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"*.safetensors lfs\n"}])

    @property
    def files(self) -> dict[str, bytes]:
        """What is visible: the newest commit."""
        return self.commits[-1]

    @property
    def sha(self) -> str:
        content = [
            sorted((name, hashlib.sha256(data).hexdigest()) for name, data in each.items()) for each in self.commits
        ]
        return hashlib.sha1(json.dumps(content).encode()).hexdigest()

    def tags(self) -> list[str]:
        match = re.match(r"---\n(.*?)\n---", self.files.get("README.md", b"").decode(), re.DOTALL)
        return list((yaml.safe_load(match[1]) or {}).get("tags", [])) if match else []


@dataclass
class Hub:
    """`deny`: path ending -> status that it answers with; `lose`: what is cut off: lfs, commit or reply."""

    port: int = 0
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    deny: dict[str, int] = field(default_factory=dict)
    lose: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    odd: dict[str, Any] = field(default_factory=dict)
    """path ending -> what it answers with in place of a hub's answer"""
    tokens: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def info(self, name: str) -> dict[str, Any]:
        repo, siblings = self.repos[name], []
        for path, data in repo.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sibling: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
            if path.endswith(LARGE):
                sha256 = hashlib.sha256(data).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": name, "sha": repo.sha, "private": repo.private, "tags": repo.tags(), "siblings": siblings}

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{body['organization'] or USER}/{body['name']}"
        if name in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
        self.repos[name] = Repo(private=body.get("visibility") == "private")
        return 200, {"url": f"{self.url}/{name}"}

    def preupload(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        there, files = self.repos[name].files, []
        for each in body["files"]:
            path, mode = each["path"], "lfs" if each["path"].endswith(LARGE) else "regular"
            data, oid = there.get(path), None
            if data is not None:
                git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                oid = hashlib.sha256(data).hexdigest() if mode == "lfs" else git
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": files}

    def batch(self, body: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for each in body["objects"]:
            known = each["oid"] in self.large
            upload = {"upload": {"href": f"{self.url}/lfs/{each['oid']}", "header": {}}}
            objects.append({**each, **({} if known else {"actions": upload})})
        return {"transfer": "basic", "objects": objects}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        repo = self.repos[name]
        files = dict(repo.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, repo.sha):
                return 412, {"error": "A commit has happened since. Please refresh and try again."}
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        repo.commits.append(files)
        return 200, {"commitUrl": f"{self.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha}


class Handler(Quiet, BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def cut(self) -> None:
        """The connection ends without a word."""
        self.close_connection = True
        self.connection.close()

    def said(self, status: int, value: Any, code: str = "") -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if code:
            self.send_header("x-error-code", code)
        self.end_headers()
        self.wfile.write(data)

    def let_in(self, path: str) -> bool:
        """Whether the token is known and nothing is denied; answers where not."""
        self.hub.asked.append((self.command, path))
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        self.hub.tokens.add(token)
        denied = next((status for end, status in self.hub.deny.items() if path.endswith(end)), None)
        odd = next((end for end in self.hub.odd if path.endswith(end)), None)
        if denied is None and odd is None and token == TOKEN:
            return True
        self.body()
        if odd is not None:
            self.said(200, self.hub.odd[odd])
            return False
        self.said(denied or 401, {"error": "no"})
        return False

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self.let_in(path):
            return
        name = path.removeprefix("/api/models/").removesuffix("/revision/main")
        if path == "/api/whoami-v2":
            self.said(200, {"type": "user", "name": USER, "orgs": []})
        elif name in self.hub.repos:
            self.said(200, self.hub.info(name))
        else:
            self.said(404, {"error": "Repository not found"}, "RepoNotFound")

    def do_PUT(self) -> None:
        """Signed addresses of large files ask for no token."""
        self.hub.asked.append(("PUT", "/lfs"))
        if "lfs" in self.hub.lose:
            self.rfile.read(10)
            return self.cut()
        data = self.body()
        self.hub.large[hashlib.sha256(data).hexdigest()] = data
        return self.said(200, {})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if not self.let_in(path):
            return None
        raw = self.body()
        if "/commit/" in path:
            return self.committed(path, raw)
        body = json.loads(raw)
        if path == "/api/repos/create":
            return self.said(*self.hub.create(body))
        if path == "/api/validate-yaml":
            return self.said(200, {"errors": [], "warnings": []})
        if "/preupload/" in path:
            return self.said(200, self.hub.preupload(path.split("/api/models/")[1].split("/preupload/")[0], body))
        return self.said(200, self.hub.batch(body))

    def committed(self, path: str, raw: bytes) -> None:
        if "commit" in self.hub.lose:
            return self.cut()
        name = path.split("/api/models/")[1].split("/commit/")[0]
        answer = self.hub.commit(name, [json.loads(line) for line in raw.splitlines()])
        return self.cut() if "reply" in self.hub.lose else self.said(*answer)


@contextmanager
def hub_serving() -> Iterator[Hub]:
    """A hub on loopback until the block ends."""
    state = Hub()
    with listening(type("HubHandler", (Handler,), {"hub": state})) as state.port:
        yield state
