"""Fetch one split of a hub dataset as JSON lines, in a process of its own: `python -P -m executor.fetch_rows`.

The last line of stdout is `{"path": ...}`, or `{"kind": "user" | "service", "error": [what, where, fix]}`.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from executor.errors import FinetuneError, ServiceError, UserError
from executor.files import replacing

Load = Callable[..., Any]
_ELSEWHERE = "Download it where there is a network, and give the file."


def fetch(name: str, folder: Path, config: str | None, split: str | None, commit: str, load: Load) -> Path:
    """Write the rows of a split to a file that is named after the commit, unless it is there.

    `load` is as `datasets` has it. Raises UserError where configuration or split do not exist, or the rows are no
    JSON values.
    """
    where = f"hf:{name}"
    try:
        splits = load(name, config, revision=commit, streaming=True)
    except ValueError as error:  # no or an unknown configuration: the message lists them
        raise UserError(_short(error), where, "Write hf:org/name@config:split.") from error
    except RuntimeError as error:
        fix = "Code from the hub is not run. Use a version of the dataset in Parquet, CSV or JSON."
        raise UserError(_short(error), where, fix) from error
    known = list(splits)
    chosen = split or ("train" if "train" in known else known[0])
    if chosen not in known:
        raise UserError(f'There is no split "{chosen}"', where, f"There are: {', '.join(known)}.")
    out = folder / "-".join(filter(None, [config, chosen, f"{commit[:12]}.jsonl"]))
    if not out.exists():
        rows = splits[chosen]
        _refuse_media(rows, where)
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(rows, out, where)
    return out


def _refuse_media(rows: Any, where: str) -> None:
    kinds = {name: type(kind).__name__ for name, kind in (getattr(rows, "features", None) or {}).items()}
    media = [name for name, kind in kinds.items() if kind in ("Image", "Audio", "Video", "Pdf")]
    if media:
        fix = "Only text is trained on: use a dataset of text."
        raise UserError(f"The column {media[0]} holds {kinds[media[0]].lower()} data", where, fix)


def _write(rows: Iterable[Any], out: Path, where: str) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, datetime.timedelta | decimal.Decimal):
            return str(value)
        raise UserError(f"Row {number} holds {type(value).__name__}, which is no text", where, "Use a dataset of text.")

    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for number, row in enumerate(rows, 1):  # noqa: B007 (named in the message of `plain`)
            file.write(json.dumps(row, ensure_ascii=False, default=plain) + "\n")


def commit_of(name: str) -> str:
    """The newest commit of a dataset. Raises UserError where there is none for this user, ServiceError offline."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    where = f"hf:{name}"
    try:
        return str(HfApi().dataset_info(name, timeout=5).sha)
    except GatedRepoError as error:
        fix = "Ask for access on its page and set HF_TOKEN."
        raise UserError("This dataset is open only to those who asked for access", where, fix) from error
    except RepositoryNotFoundError as error:
        fix = "Check the name; a private one needs HF_TOKEN."
        raise UserError("The hub does not have this dataset, or it is private", where, fix) from error
    except Exception as error:  # refused, time-out, 500, told to stay offline: the hub cannot be asked
        raise ServiceError(f"The hub cannot be reached: {_short(error)}", where, _ELSEWHERE) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def _loaded(name: str, config: str | None, **more: Any) -> Any:
    from datasets import load_dataset

    return load_dataset(name, config, **more)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config")
    parser.add_argument("--split")
    given = parser.parse_args(words)
    try:
        commit = commit_of(given.name)
        try:
            path = fetch(given.name, given.folder, given.config, given.split, commit, _loaded)
        except (OSError, FinetuneError):
            raise
        except Exception as error:  # whatever the library raises when the network fails half-way
            raise ServiceError(f"The download failed: {_short(error)}", f"hf:{given.name}", "Try again.") from error
    except OSError as error:
        answer: dict[str, Any] = {"kind": "service", "error": [_short(error), f"hf:{given.name}", _ELSEWHERE]}
    except FinetuneError as error:
        kind = "service" if isinstance(error, ServiceError) else "user"
        answer = {"kind": kind, "error": [error.what, error.where, error.fix]}
    else:
        answer = {"path": str(path)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if "path" in answer else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
