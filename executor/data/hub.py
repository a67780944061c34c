"""Datasets of the Hugging Face hub by name, `hf:org/name[@config][:split]`: fetched once for each commit, then a file.

The fetching is done by a process of its own, so that this one never loads `datasets`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from executor.errors import ServiceError, UserError
from executor.home import cache

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<name>[\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@(?P<config>[\w.+-]+))?(?::(?P<split>[\w.+-]+))?")
_SECONDS = "5"
"""that the hub may take to answer a single question"""


def is_hub(path: Path) -> bool:
    """Whether a path is the name of a hub dataset; a file that is really called so comes first."""
    return str(path).startswith(PREFIX) and not path.exists()


def fetched(path: Path) -> Path:
    """The rows of a hub dataset as JSON lines on this disk.

    Raises UserError for a name, configuration or split that does not exist or needs an account, ServiceError where
    the hub does not answer.
    """
    match = _NAME.fullmatch(str(path))
    if match is None:
        raise UserError(f'"{path}" is no name of a hub dataset', str(path), "Write hf:org/name or hf:org/name:split.")
    from executor.launch import child_environment

    folder = cache() / "datasets" / match["name"].replace("/", "--")
    command = [sys.executable, "-P", "-m", "executor.fetch_rows", match["name"], str(folder)]
    command += [f"--config={match['config']}"] if match["config"] else []
    command += [f"--split={match['split']}"] if match["split"] else []
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_ETAG_TIMEOUT": _SECONDS, "HF_HUB_DOWNLOAD_TIMEOUT": _SECONDS}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment(hub=True) | quiet)
    try:
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        answer = {"kind": "service", "error": ["The download ended without an answer", str(path), "Try again."]}
    if "path" in answer:
        return Path(answer["path"])
    raise (UserError if answer["kind"] == "user" else ServiceError)(*answer["error"])
