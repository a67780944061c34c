"""The kinds of rows and cards that the knowledge is made of: frozen, an unknown key is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict

CITATION = re.compile(r"\[([a-z0-9][a-z0-9.-]*(?:, [a-z0-9][a-z0-9.-]*)*)\]")
"""A citation in a card: one source id or several, in square brackets."""

Intent = Literal[
    "decide", "prepare_data", "choose_model", "configure", "train", "evaluate", "debug", "deploy", "cost", "other"
]
Basis = Literal["primary", "abstract", "secondary", "recall", "judgement", "seed"]
Approach = Literal["prompt", "few_shot", "rag", "fine_tune", "rag_plus_fine_tune", "other"]
CauseClass = Literal[
    "learning_rate", "labels_masking", "chat_template", "eos_or_padding", "truncation_length", "precision_overflow",
    "gradient_flow", "data_quality", "data_format", "quantization", "memory", "target_modules", "overfitting",
    "save_load_merge", "distributed", "tokenizer_vocab", "version_bug", "eval_setup", "other",
]  # fmt: skip


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Row):
    id: str
    title: str
    url: str | None
    """None where there is no page: a judgement, a measurement, the brief."""
    read_on: date
    kind: Literal["paper", "docs", "thread", "blog", "benchmark", "model", "brief", "judgement", "measurement"]
    basis: Basis
    """How far the text was read; `recall` is cited from memory and to be checked."""

    def reference(self) -> dict[str, str | None]:
        """The entry of `sources` in a result."""
        return {"id": self.id, "title": self.title, "url": self.url, "read_on": self.read_on.isoformat()}


class Dated(Row):
    source: tuple[str, ...]
    read_on: date
    expires: date | None
    """After this day the row is quoted only with a warning; None: it does not rot."""

    def stale(self, today: date | None = None) -> bool:
        return self.expires is not None and (today or date.today()) > self.expires


class Fact(Dated):
    id: str
    value: bool | int | float | date | str | None = None
    """None: the text says all there is."""
    unit: str | None = None
    text: str
    """A whole answer in one to three sentences."""
    asks: tuple[str, ...] = ()
    """Other ways to ask for it; searched, never shown."""
    reason: str | None = None
    seed: str | None = None
    """What the seed document says, where that is different or worth comparing."""

    def quoted(self, today: date | None = None) -> str:
        """The text, with the day it was read where it rots, and a warning where it has expired."""
        if self.expires is None:
            return self.text
        days = ((today or date.today()) - self.read_on).days
        expired = f", {days} days ago, expired: check it again" if self.stale(today) else ""
        price = f" {self.value} {self.unit}." if self.unit and self.unit.startswith("USD") else ""
        return f"{self.text}{price} (read on {self.read_on.isoformat()}{expired})"

    def shown(self) -> str:
        """The value as a card shows it: `65,536`, `2e-4`, `6 January 2027`; with a warning where it has expired."""
        value = self.value
        if isinstance(value, date):
            text = f"{value.day} {value:%B %Y}"
        elif isinstance(value, float) and 0 < abs(value) < 0.001:
            text = f"{value:.0e}".replace("e-0", "e-")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            text = f"{value:,}" if isinstance(value, int) else f"{value:,g}"
        else:
            text = str(value)
        return f"{text} (read on {self.read_on.isoformat()}, expired)" if self.stale() else text


class ModelSource(Row):
    kind: Literal["wheel", "hub"]
    hub_id: str | None = None
    package: str | None = None
    version: str | None = None
    sha256_wheel: str | None = None
    file: str | None = None
    """path inside the wheel"""
    sha256: str | None = None
    """of the file"""


class BaseModelRow(Dated):
    name: str
    hub_id: str
    licence: str | None
    permissive: bool | None
    parameters: int | None
    size_b: float | None
    """the size in the model's name, in billions; None where the name gives an effective size only"""
    layers: int | None
    hidden: int | None
    intermediate: int | None
    heads: int | None
    key_value_heads: int | None
    vocabulary: int | None
    context: int | None
    gated: bool | None
    year: int
    qlora_gb: float | None
    lora_gb: float | None
    qlora_advised: bool | None
    use: tuple[str, ...]
    note: str
    verified: bool
    """True: the numbers were read from the model's own file."""
    sources: tuple[ModelSource, ...]


class LicenceRow(Dated):
    """What a licence, or the terms of a model that wrote answers, ask of a tuned model: as read, never legal advice."""

    id: str
    kind: Literal["licence", "teacher"]
    names: tuple[str, ...]
    """patterns of its name, matched whole, without case"""
    ship: Literal["yes", "ask", "no", "unknown"]
    """whether what is made of it may be passed on; `ask`: under conditions; `unknown`: nobody read it"""
    commercial: bool | None
    share_alike: bool | None
    credit: bool = False
    """whether its source must be named"""
    begins: str | None = None
    """how the name must begin of what is passed on"""
    shown: str | None = None
    """words that must be shown"""
    hub: str | None
    """the hub's identifier; None: it has none"""
    text: str

    def quoted(self, today: date | None = None) -> str:
        """The text with the day it was read, and a warning where it has expired."""
        expired = ", expired: check it again" if self.stale(today) else ""
        return f"{self.text} (As read on {self.read_on.isoformat()}{expired}.)"


class Affected(Row):
    """Versions of a package that have a bug."""

    package: str
    since: str | None = None
    """the first version that has it; None: from the beginning, or not known"""
    fixed_in: str | None = None
    """the first version without it; None: none yet"""


class Cause(Dated):
    id: str
    cause_class: CauseClass
    cause: str
    signals: tuple[tuple[str, float], ...]
    """(regular expression, weight), matched without case"""
    symptoms: tuple[str, ...] = ()
    """how people describe it, in our own words; searched, never shown"""
    affected: tuple[Affected, ...] = ()
    """where the cause is a bug of certain versions"""
    evidence: str
    check: str
    fix: str


class RunSign(Row):
    """Something in a run's own record that speaks for a cause."""

    id: str
    cause: str
    weight: float
    limits: dict[str, float]
    """where the sign begins"""
    reason: str
    source: tuple[str, ...]


class Case(Dated):
    """A published case: somebody's task, what they took, what came of it."""

    id: str
    task: str
    """the situation as it stood before, in our own words"""
    approach: Approach
    """what the case found to be right"""
    outcome: str
    """one sentence, with the figures"""


class Sign(Row):
    """Words that tell something about a user's situation."""

    field: str
    value: bool
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """How words are read in a search; the data of `words.yaml`."""

    stop: frozenset[str]
    everywhere: frozenset[str]
    """words that count in a question only where it has no others"""
    same: tuple[tuple[str, ...], ...]
    """wordings that may stand for each other, a line each"""
    subjects: dict[str, re.Pattern[str]]


class Answer(Row):
    words: str
    """completes `If …`"""
    sets: dict[str, bool | int | float]
    """what it would make of the situation"""


class Question(Row):
    """Something to ask about a situation, and the answers that could turn the decision."""

    ask: str
    field: str
    """of the situation; asked while it is not known"""
    unless: str | None = None
    """another field that makes the question needless once it is known"""
    answers: tuple[Answer, ...]


class Card(Row):
    id: str
    title: str
    keywords: tuple[str, ...]
    intents: tuple[Intent, ...]
    body: str

    def citations(self) -> list[str]:
        """Source ids in order of appearance, each once."""
        return cited(self.body)


def cited(text: str) -> list[str]:
    """Source ids in square brackets in `text`, in order, each once; known or not."""
    return list(dict.fromkeys(part for match in CITATION.finditer(text) for part in match.group(1).split(", ")))
