"""Which files a model's tool call may touch: those below the working folder, the workspace, and what the user named.

What a model asks for may come from a data row or a log that told it to. So a path counts as named only where the user's
own words hold it, and what keeps secrets is out of reach whoever names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from agent.prompt import split_data
from agent.route import exists, paths
from tools.base import UserError, cache, workspace

READ = frozenset({"data", "documents", "path", "production", "prompt", "sample", "test", "validation"})
"""arguments that are paths to read"""
WRITTEN = frozenset({"out"})
"""arguments that are paths to write"""
PERHAPS = frozenset({"a", "against", "answer_format", "b", "base_model", "harness", "symptom", "version"})
"""arguments that are a name, words, or a path to read"""
RUNS = frozenset({"other", "resume", "run", "since"})
"""arguments that are a run's name or its folder; a spec says what a run does, so it must be the workspace's or named"""
IN_SPEC = (("data", "path"), ("data", "test"), ("data", "documents"), ("model", "folder"))
"""what a spec.yaml reads"""
SECRET_FOLDERS = frozenset(
    {".aws", ".azure", ".docker", ".git", ".gnupg", ".kube", ".password-store", ".ssh", "gcloud", "keyrings"}
)
ROWS = (".arrow", ".csv", ".gz", ".jsonl", ".md", ".parquet", ".tsv", ".txt", ".xls", ".xlsx")
"""endings of data and texts, whose names may speak of anything"""
WRITABLE = ("", ".arrow", ".csv", ".json", ".jsonl", ".md", ".parquet", ".tsv", ".txt", ".yaml", ".yml")
"""endings of what the tools write; an output folder has none"""
SECRET = re.compile(
    r"^\.|\.env\b|^env$|credential|secret|password|passwd|shadow|^id_[a-z0-9]+|token$|^tokens?\b|history$|netrc|htpasswd"
    r"|\.(?:kdbx|key|p12|pem|pfx|ppk|jks|sqlite\d?|db)$",
    re.IGNORECASE,
)
"""names of files that hold keys, passwords or chats; of dot files all"""
SYSTEM = ("/proc", "/sys", "/dev")
HUB = "hf:"
"""a dataset of the hub is no path; it is downloaded where the user named it"""
DEEP = 3
"""parts of a folder's path from which on its mention opens what is below it: /etc or /home/ann is too much"""
PASTED = 2_000
"""characters; of a longer message only its beginning is the user's own words, the rest a pasted log"""
BEGINNING = 500
_QUOTED_BLOCK = re.compile(
    r"```(?s:.*?)(?:```|\Z)"
    r"|^[ \t]*File \".*(?:\n[ \t]+\S.*)*(?:\n[\w.]*(?:Error|Exception|Exit|Interrupt|Iteration|Warning)\b.*)?"
    r"|^[ \t]*(?:>|at |Caused by: ).*",
    re.MULTILINE,
)
"""a fenced block, a traceback from its first file to its error, a quoted line, a line of another language's stack"""


def refuse_out_of_reach(args: Mapping[str, Any], said: Iterable[str], opened: Iterable[Path] = ()) -> None:
    """Raises UserError, for the model to read, where an argument names a file beyond the reach of the conversation.

    `said` are the user's own messages; `opened` are files and folders that the user gave by other means.
    """
    told = list(said)
    named = {real(path) for text in told for path in named_in(text)} | {real(path) for path in opened}
    for field, value in args.items():
        for text in texts(value) if field in READ | WRITTEN | PERHAPS | RUNS else ():
            check(field, text, named, told)


def check(field: str, text: str, named: set[Path], told: list[str]) -> None:
    if text.startswith(HUB):
        whole = re.compile(rf"(?<!\S){re.escape(text)}(?![\w/@:-])")
        if not any(whole.search(each) for each in told):
            raise UserError(f"The user did not name {text}", text, "Ask the user to name the dataset.")
        return
    if field in PERHAPS | RUNS and not is_path(text):
        return
    path = real(text)
    if keeps_secrets(path, field in WRITTEN):
        raise UserError(f"{text} is out of reach: such files may hold secrets or settings", text, "Name another file.")
    if not (is_named(path, named) or below(path, own_folders(field))):
        what = f"{text} is outside the working folder, and the user did not name it"
        raise UserError(what, text, "Ask the user to name the file; do not look for another way to it.")
    if field == "data" and path.suffix.lower() in (".yaml", ".yml"):
        for part in in_spec(path):
            check("path", part, named, told)


def own_folders(field: str) -> list[Path]:
    """What is in reach without a word: the working folder (unless it is the whole disk or home), the workspace."""
    if field in RUNS:
        return [workspace()]
    here = Path.cwd().resolve()
    working = [] if here in (Path("/"), Path.home().resolve()) else [here]
    return [*working, *([] if field in WRITTEN else [workspace() / "runs", workspace() / "datasets", cache()])]


def in_spec(file: Path) -> list[str]:
    """The paths that a spec names; nothing where it is no spec, which the tool will tell."""
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    found = [(spec.get(part) or {}).get(key) for part, key in IN_SPEC] if isinstance(spec, dict) else []
    return [each for each in found if isinstance(each, str)]


def texts(value: Any) -> list[str]:
    """The texts of an argument, without the space around them: the tools do not see it either."""
    if isinstance(value, list | tuple):
        return [str(each).strip() for each in value]
    return [] if value in (None, "") else [str(value).strip()]


def named_in(message: str) -> list[str]:
    """The paths in the user's own words, the file given beside them among these; none of a pasted block or log."""
    words, data = split_data(message)
    own = _QUOTED_BLOCK.sub(" ", words if len(words) <= PASTED else words[:BEGINNING])
    return [*paths(own), *([data] if data else [])]


def is_path(text: str) -> bool:
    """Whether words may be meant as a path: they begin like one, climb, or there is a file of that name."""
    if text.startswith(("/", "~", "./", "../", ".\\")) or "/../" in text or text.endswith("/.."):
        return "\n" not in text
    return exists(text)


def real(text: str | Path) -> Path:
    """The file itself, whatever links and dots lead to it. Raises UserError for what can be no path."""
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"Not a path: {error}", str(text)[:80], "Write the path of a file.") from error


def is_named(path: Path, named: set[Path]) -> bool:
    """Whether the user named the file, or a folder that holds it: not the root, a home, or another shallow one."""
    return path in named or any(
        folder in path.parents and len(folder.parts) > DEEP and folder not in Path.home().resolve().parents
        for folder in named
    )


def below(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path lies in one of the folders, and not in a hidden part of it."""
    for folder in folders:
        root = folder.resolve()
        if path == root or (
            path.is_relative_to(root) and not any(part.startswith(".") for part in path.relative_to(root).parts)
        ):
            return True
    return False


def keeps_secrets(path: Path, to_write: bool = False) -> bool:
    """Whether a file is of a kind that holds keys, passwords or a process's memory; or, to write, no kind of output."""
    parts = {part.casefold() for part in path.parts}
    if parts & SECRET_FOLDERS or any(path.is_relative_to(each) for each in SYSTEM):
        return True
    if to_write and (path.suffix.lower() not in WRITABLE or path.is_relative_to(workspace().resolve())):
        return True
    name = path.name
    return bool(SECRET.search(name)) and (name.startswith(".") or path.suffix.lower() not in ROWS)
