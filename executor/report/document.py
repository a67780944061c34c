"""A report before it has a form: blocks of plain text that HTML and Markdown render alike. Nothing here is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["measured", "estimated", "cited", "recorded", "computed"]
Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True)
class Origin:
    """Where the numbers of a block come from."""

    kind: Kind
    where: str


@dataclass(frozen=True)
class Paragraph:
    text: str
    origin: Origin | None = None


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]
    lead: str = ""


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    """columns set flush right"""
    origin: Origin | None = None
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing, and the same content as a table for Markdown."""

    svg: str
    table: Table
    small: bool = False
    """may share a line with another small figure"""
    both: bool = False
    """HTML shows the table too, since it says more than the drawing"""


@dataclass(frozen=True)
class Commands:
    """Pairs of what a command does and the command."""

    lines: tuple[tuple[str, str], ...]


Block = Paragraph | Bullets | Table | Figure | Commands


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Answer:
    word: str
    """verdict or decision in a few words"""
    tone: Tone
    sentence: str
    """with the figures and the interval"""
    origin: Origin | None = None


@dataclass(frozen=True)
class Report:
    name: str
    """of the run"""
    answer: Answer
    sections: tuple[Section, ...]
