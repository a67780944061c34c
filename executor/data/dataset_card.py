"""A dataset card in the layout of the Hugging Face hub: what a version of a dataset is, and what is not known of it.

Layout: https://huggingface.co/docs/hub/datasets-cards (YAML front matter, then Markdown).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from executor.data import lineage
from executor.data.sensitive import WORDS
from executor.data.task import Task
from executor.data.version import Version
from executor.errors import UserError
from executor.report.escape import to_markdown

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
)
"""the hub's names, each for sets below its number of rows"""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PATH = re.compile(r"(?<![\w:./\\~])(?:~|[A-Za-z]:)?(?:[/\\][^/\\\s\"'|,;:]+)+[/\\]?")
"""an absolute path in a text"""
_LABELS_SHOWN = 30
_LONGEST_VALUE = 120
"""characters of a parameter"""
_HUB_SPLITS = {"train": "train", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset beside its versions; an empty field is not known, and the card says so."""

    name: str | None = None
    about: str | None = None
    """what it is, in the words of the person who made it"""
    languages: Sequence[str] = ()
    """ISO 639 codes"""
    license: str | None = None
    """the hub's identifier, such as `cc-by-4.0`"""
    task: Task | None = None
    counts: Mapping[str, int] | None = None
    """how often the check found each code; None: it was not checked"""
    redacted: bool = False
    """personal data that was found was replaced by stand-ins"""
    gaps: Sequence[str] = field(default_factory=tuple)
    """what the data is known to lack"""


def card(version: Version, facts: Facts) -> str:
    """The card of a version as Markdown.

    Paths are given by name only, and text of the data is escaped. Raises UserError for a license or language that is
    no identifier, and where a record of its lineage is damaged.
    """
    chain = lineage.ancestors(version)
    sections = (
        ("What it is", _about(version, facts)),
        ("Source", _source(chain)),
        ("Rows and splits", _rows(version)),
        ("How it was made", _lineage(chain)),
        ("Quality", _quality(facts)),
        ("Personal data", _personal(facts)),
        ("Known gaps", _gaps(version, facts)),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"---\n{_front(version, facts)}---\n\n# {to_markdown(_name(version, facts))}\n\n{body}\n"


def _name(version: Version, facts: Facts) -> str:
    return facts.name or Path(version.path).stem or "Dataset"


def _front(version: Version, facts: Facts) -> str:
    front: dict[str, Any] = {}
    if facts.languages:
        front["language"] = [_checked(each, _LANGUAGE, "language", "Use ISO 639 codes.") for each in facts.languages]
    front["license"] = _checked(facts.license or "unknown", _LICENSE, "license", "Use one such as cc-by-4.0.")
    front["pretty_name"] = " ".join(_name(version, facts).split())
    if facts.task is not None:
        front["task_categories"] = ["text-classification" if facts.task.kind == "label" else "text-generation"]
    if version.rows is not None:
        front["size_categories"] = [next((name for limit, name in _SIZES if version.rows < limit), "10B<n<100B")]
    splits = {name: file for name, file in version.parts.items() if file.sha256 and name in _HUB_SPLITS}
    if splits:
        files = [{"split": _HUB_SPLITS[name], "path": file.name} for name, file in splits.items()]
        front["configs"] = [{"config_name": "default", "data_files": files}]
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _checked(value: str, pattern: re.Pattern[str], what: str, fix: str) -> str:
    if not pattern.fullmatch(value):
        raise UserError(f'"{value[:60]}" is no {what} of the hub', what, fix)
    return value


def _about(version: Version, facts: Facts) -> str:
    said = [to_markdown(facts.about) if facts.about else "What the rows are about was not stated."]
    task = facts.task
    if task is None:
        said.append("The kind of task was not determined.")
    elif task.kind == "label":
        names = ", ".join(to_markdown(label) for label in task.labels[:_LABELS_SHOWN])
        more = len(task.labels) - _LABELS_SHOWN
        said.append(
            f"Each answer is one of {len(task.labels)} labels: {names}{f' and {more} more' if more > 0 else ''}."
        )
    elif task.kind == "json":
        said.append(f"Each answer is a JSON object with the keys {', '.join(map(to_markdown, task.json_keys))}.")
    else:
        said.append("Each answer is free text.")
    said.append(f"Version `{version.id}`, made on {version.made_on[:10]} (UTC).")
    return "\n\n".join(said)


def _source(chain: Sequence[Version]) -> str:
    sources = [file for version in chain if version.step == "source" for file in version.files]
    if not sources:
        return "Not known: no source file is recorded."
    return "\n".join(f"- {to_markdown(file.name)} (SHA-256 `{file.sha256}`)" for file in sources)


def _rows(version: Version) -> str:
    if version.rows is None:
        total = "The rows were not counted."
    else:
        total = f"{version.rows:,} row{'' if version.rows == 1 else 's'}."
    if not version.parts:
        return f"{total} It is one file, {to_markdown(version.files[0].name)}, without splits."
    counted = [(name, file, "?" if file.rows is None else f"{file.rows:,}") for name, file in version.parts.items()]
    lines = [f"| {to_markdown(name)} | {to_markdown(file.name)} | {rows} |" for name, file, rows in counted]
    return "\n".join([total, "", "| split | file | rows |", "|---|---|---:|", *lines])


def _lineage(chain: Sequence[Version]) -> str:
    lines = [f"| {' | '.join(_cells(each))} |" for each in chain]
    head = [
        "| version | step | file | rows | lines touched | made from | parameters |",
        "|---|---|---|---:|---:|---|---|",
    ]
    return "\n".join([*head, *lines])


def _cells(version: Version) -> list[str]:
    rows = "?" if version.rows is None else f"{version.rows:,}"
    name = to_markdown(Path(version.path).name)
    made = [_parents(version), _parameters(version.parameters)]
    return [f"`{version.id}`", version.step, name, rows, f"{version.touched:,}", *made]


def _parents(version: Version) -> str:
    return ", ".join(f"`{parent}`" for parent in version.parents) or "–"


def _parameters(parameters: Mapping[str, Any]) -> str:
    said = [f"{to_markdown(str(key))} = {to_markdown(_value(value))}" for key, value in parameters.items()]
    return ", ".join(said) or "–"


def _value(value: Any) -> str:
    """A parameter as text, with every absolute path cut to its name: the machine is nobody's business."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}: {_value(each)}" for key, each in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(map(_value, value))
    elif isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        text = PureWindowsPath(value).name or value  # knows both kinds of slash
    else:
        text = _PATH.sub(lambda found: PureWindowsPath(found.group()).name, str(value))
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _quality(facts: Facts) -> str:
    if facts.counts is None:
        return "Not known: no check of the rows is recorded."
    found = _table(facts.counts.items())
    return found or "The check found no problem."


def _table(counts: Iterable[tuple[str, int]]) -> str:
    lines = [f"| {to_markdown(code)} | {count:,} |" for code, count in sorted(counts) if count]
    return "\n".join(["| problem | found |", "|---|---:|", *lines]) if lines else ""


def _personal(facts: Facts) -> str:
    if facts.counts is None:
        return "Not known: the rows were not searched for personal data."
    kinds = {code: n for code, n in facts.counts.items() if n and (code.startswith("pii_") or code == "secret")}
    limits = "The search goes by patterns: it finds only what has a typical form, and sometimes what is none."
    if not kinds:
        none = "None was found in the rows as they are."
        stand_ins = " What was found before was replaced by stand-ins." if facts.redacted else ""
        return f"{none}{stand_ins} {limits}"
    listed = "; ".join(f"{to_markdown(WORDS.get(code, code))} ({n:,})" for code, n in sorted(kinds.items()))
    return f"**The rows hold personal data or secrets:** {listed}. {limits}"


def _gaps(version: Version, facts: Facts) -> str:
    gaps = [to_markdown(gap) for gap in facts.gaps]
    unknown = [
        ("languages", not facts.languages),
        ("license", facts.license is None),
        ("kind of task", facts.task is None),
        ("number of rows", version.rows is None),
        ("quality", facts.counts is None),
    ]
    missing = [name for name, absent in unknown if absent]
    if missing:
        gaps.append(f"Not known: {', '.join(missing)}.")
    gaps.append("Who or what the rows stand for, and how they were collected, is not recorded.")
    return "\n".join(f"- {gap}" for gap in gaps)
