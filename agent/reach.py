"""Which files a model's tool call may touch: those below the working folder, the workspace, and what the user named.

What a model asks for may come from a data row or a log that told it to. So a path counts as named only where the user's
own words hold it, and what keeps secrets is out of reach whoever names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.prompt import split_data
from agent.route import paths
from tools.base import UserError, cache, workspace

READ = frozenset({"data", "documents", "path", "production", "prompt", "sample", "test"})
"""arguments that are paths to read"""
WRITTEN = frozenset({"out"})
"""arguments that are paths to write"""
PERHAPS = frozenset(
    {"a", "against", "answer_format", "b", "base_model", "harness", "other", "resume", "run", "symptom", "version"}
)
"""arguments that are a name, words, or a path to read"""
SECRET_FOLDERS = frozenset(
    {".aws", ".azure", ".docker", ".git", ".gnupg", ".kube", ".password-store", ".ssh", "gcloud", "keyrings"}
)
SECRET_FILES = (
    ".bash_history", ".env", ".git-credentials", ".htpasswd", ".netrc", ".npmrc", ".pgpass", ".pypirc",
    ".python_history", ".zsh_history", "credentials", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa", "shadow",
)  # fmt: skip
SECRET_ENDINGS = (".kdbx", ".key", ".p12", ".pem", ".pfx")
SYSTEM = ("/proc", "/sys", "/dev")
HUB = "hf:"
"""a dataset of the hub is no path; it is downloaded where the user named it"""


def refuse_out_of_reach(args: Mapping[str, Any], said: Iterable[str]) -> None:
    """Raises UserError, for the model to read, where an argument names a file beyond the reach of the conversation.

    `said` are the user's own messages.
    """
    told = list(said)
    named = {real(path) for text in told for path in named_in(text)}
    for field, value in args.items():
        for text in texts(value) if field in READ | WRITTEN | PERHAPS else ():
            check(field, text, named, told)


def check(field: str, text: str, named: set[Path], told: list[str]) -> None:
    if text.startswith(HUB):
        if not any(text in each for each in told):
            raise UserError(f"The user did not name {text}", text, "Ask the user to name the dataset.")
        return
    if field in PERHAPS and not is_path(text):
        return
    path = real(text)
    if keeps_secrets(path) or (field in WRITTEN and Path(text).name.startswith(".")):
        raise UserError(f"{text} is out of reach: such files may hold secrets or settings", text, "Name another file.")
    if within(path, [Path.cwd(), workspace(), *named]) or (field not in WRITTEN and within(path, [cache()])):
        return
    what = f"{text} is outside the working folder, and the user did not name it"
    raise UserError(what, text, "Ask the user to name the file; do not look for another way to it.")


def texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return [] if value in (None, "") else [str(value)]


def named_in(message: str) -> list[str]:
    """The paths in a message of the user, the file given beside it among them."""
    words, data = split_data(message)
    return [*paths(words), *([data] if data else [])]


def is_path(text: str) -> bool:
    """Whether words may be meant as a path: short, and with a separator, a leading dot, or a file of that name."""
    if "\n" in text or len(text) > 1024:
        return False
    if text.startswith(("/", "~", "./", "../", ".\\")) or "/../" in text:
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def real(text: str | Path) -> Path:
    """The file itself, whatever links and dots lead to it. Raises UserError for what can be no path."""
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"Not a path: {error}", str(text)[:80], "Write the path of a file.") from error


def within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in folders)


def keeps_secrets(path: Path) -> bool:
    """Whether a file is of a kind that holds keys, passwords or what a process keeps in memory."""
    name = path.name.casefold()
    parts = {part.casefold() for part in path.parts}
    named = name in SECRET_FILES or name.startswith(".env.")
    return bool(parts & SECRET_FOLDERS) or named or name.endswith(SECRET_ENDINGS) or within(path, map(Path, SYSTEM))
