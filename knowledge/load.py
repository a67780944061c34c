"""Cards, dated facts and sources: read once from the files beside this module, validated, kept in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from knowledge.rows import (
    BaseModelRow,
    Card,
    Case,
    Cause,
    Fact,
    LicenceRow,
    Question,
    Row,
    RunSign,
    Sign,
    Source,
    Vocabulary,
)  # fmt: skip

FOLDER = Path(__file__).parent
FACT_FILES = (
    "gates", "rules", "defaults", "prices", "limits", "shutdowns", "gpus",
    "peft", "transformers", "trl", "toolkits", "hosted", "serving", "research", "families", "community",
)  # fmt: skip
"""The files of `facts/` whose rows are `Fact`s."""

ASKED_FILES = tuple(name for name in FACT_FILES if name not in ("gates", "rules", "gpus"))
"""Those that answer questions in their own words; the others feed arithmetic and decisions."""

VALUE = re.compile(r"\{\{(?P<file>\w+)\.(?P<id>[\w.-]+)\}\}")
"""The value of a fact in a card: `{{limits.openai.min_examples}}`."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
R = TypeVar("R", bound=Row)


@cache
def sources() -> dict[str, Source]:
    """All of `sources/*.yaml` by id; a test holds that no id stands in two files."""
    rows = {key: row for path in sorted((FOLDER / "sources").glob("*.yaml")) for key, row in read_yaml(path).items()}
    return {key: Source(id=key, **row) for key, row in rows.items()}


@cache
def facts(name: str) -> tuple[Fact, ...]:
    """The rows of `facts/NAME.yaml`, one of `FACT_FILES`."""
    return _rows(name, Fact)


def fact(name: str, row: str) -> Fact:
    """One row. KeyError where there is none."""
    return _by_id(name)[row]


def number(name: str, row: str) -> float:
    """The value of a numeric row."""
    value = fact(name, row).value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}.{row} is not a number")
    return value


@cache
def models() -> tuple[BaseModelRow, ...]:
    """The catalogue of base models, the embedded default first."""
    return _rows("models", BaseModelRow)


@cache
def licences() -> tuple[LicenceRow, ...]:
    """Licences, and the terms of models that write answers."""
    return _rows("licences", LicenceRow)


@cache
def causes() -> tuple[Cause, ...]:
    """The rows of `facts/causes/*.yaml`, file by file."""
    paths = sorted((FOLDER / "facts" / "causes").glob("*.yaml"))
    return tuple(row for path in paths for row in _rows(f"causes/{path.stem}", Cause))


@cache
def questions() -> tuple[Question, ...]:
    return _rows("questions", Question)


@cache
def cases() -> tuple[Case, ...]:
    """The rows of `facts/cases/*.yaml`, file by file."""
    paths = sorted((FOLDER / "facts" / "cases").glob("*.yaml"))
    return tuple(row for path in paths for row in _rows(f"cases/{path.stem}", Case))


@cache
def signs() -> tuple[Sign, ...]:
    return _rows("signs", Sign)


@cache
def run_signs() -> dict[str, RunSign]:
    """By id: what in a run's own record speaks for which cause."""
    return {row.id: row for row in _rows("run_signs", RunSign)}


@cache
def cards() -> tuple[Card, ...]:
    return tuple(read_card(path) for path in sorted((FOLDER / "cards").glob("*.md")))


@cache
def vocabulary() -> Vocabulary:
    data = read_yaml(FOLDER / "words.yaml")
    return Vocabulary(
        stop=frozenset(data["stop"]),
        everywhere=frozenset(data["everywhere"]),
        same=tuple(map(tuple, data["same"])),
        subjects={
            name: re.compile(pattern, 0 if re.search(r"(?<!\\)[A-Z]", pattern) else re.I)
            for name, pattern in data["subjects"].items()
        },
    )


def read_card(path: Path) -> Card:
    """A card: YAML between two lines of `---`, then prose with the values of facts put in. KeyError: no such fact."""
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    body = VALUE.sub(lambda match: fact(match["file"], match["id"]).shown(), body)
    return Card(body=body.strip(), **yaml.load(head, Loader=_Loader))  # noqa: S506 (a safe loader)


def references(ids: Iterable[str]) -> list[dict[str, str | None]]:
    """The contract's `sources` for these ids, in order, each once."""
    known = sources()
    return [known[each].reference() for each in dict.fromkeys(ids)]


@cache
def _by_id(name: str) -> dict[str, Fact]:
    return {row.id: row for row in facts(name)}


def _rows(name: str, kind: type[R]) -> tuple[R, ...]:
    return tuple(kind(**row) for row in read_yaml(FOLDER / "facts" / f"{name}.yaml"))


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, by the C parser where there is one."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a safe loader)
