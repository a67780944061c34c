"""The tools that describe a dataset: its card, and how difficult each row is likely to be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data import lineage, store
from executor.data.convert import row_builder
from executor.data.read import open_source
from executor.data.shape import detect_source
from executor.data.source import Source
from executor.data.task import Tally
from executor.data.verdict import checked
from executor.data.version import Version
from executor.errors import UserError
from executor.files import write_text
from executor.report.escape import to_markdown
from tools.base import Args, Result, Tool
from tools.data_write import refuse_overwriting

__all__ = ["DESCRIBE_TOOLS"]

_EXCERPT = 80
"""characters of an input that are shown"""


class DataCardArgs(Args):
    path: str
    """a file, a split folder or a version"""
    out: Path | None = None
    """where to write the card, such as README.md; none: it is only shown"""
    name: str | None = None
    about: str | None = None
    """what the rows are, in your words"""
    license: str | None = None
    """the hub's identifier, such as cc-by-4.0"""
    languages: tuple[str, ...] = ()
    """ISO 639 codes"""
    overwrite: bool = False
    """replace an existing card"""


class DataCardResult(Result):
    card: str
    """Markdown with the hub's YAML front matter"""
    version: str
    out: str | None

    def text(self) -> str:
        return f"Wrote the dataset card of version {self.version} to {self.out}." if self.out else self.card


class DataDifficultyArgs(Args):
    path: Path
    """the data file"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    shown: int = Field(default=5, ge=0, le=100)
    """how many of the easiest and of the hardest rows are named"""


class DataDifficultyResult(Result):
    rows: int
    """rows that can be trained on"""
    version: str
    """the dataset version that the difficulties are kept with"""
    file: str
    """JSON lines, one a row: `line, difficulty, length, rarity, label_rarity, distance, loss`"""
    easiest: list[dict[str, Any]]
    """`line, difficulty, input`"""
    hardest: list[dict[str, Any]]
    """as `easiest`, the hardest first"""

    def text(self) -> str:
        head = (
            f"Ranked {self.rows} rows by length, rarity of their words and of their label (0 easiest, 1 hardest); "
            f"kept with version {self.version} in {self.file}."
        )
        parts = [head, _listed("Easiest", self.easiest), _listed("Hardest", self.hardest)]
        return "\n\n".join(part for part in parts if part)


def write_card(args: DataCardArgs) -> DataCardResult:
    """The card of what a path or version holds; its rows are checked anew for it."""
    from executor.data.dataset_card import Facts, card

    if args.out is not None:
        refuse_overwriting(Path(args.path), [args.out], args.overwrite)
    path = Path(args.path).expanduser()
    version = store.ensure_source(path) if path.is_file() else store.lookup(args.path)
    found: Counter[str] = Counter()
    tally = Tally()
    rows = 0
    for file in version.files:
        with store.readable(file) as copy:
            source = open_source(copy)
            verdict = checked(source, detect_source(source))
            found.update(verdict.findings.codes())
            rows += verdict.rows
            _tell(tally, source)
    facts = Facts(
        name=args.name,
        about=args.about,
        languages=args.languages,
        license=args.license,
        task=tally.task() if tally.rows else None,
        counts=dict(found),
        redacted=_redacted(version),
    )
    text = card(version if version.rows is not None else version.model_copy(update={"rows": rows}), facts)
    if args.out is not None:
        write_text(args.out, text)
    return DataCardResult(card=text, version=version.id, out=str(args.out.absolute()) if args.out else None)


def _tell(tally: Tally, source: Source) -> None:
    """Add the answers of a file; rows that are no question with an answer say nothing of the task."""
    from executor.data.difficulty import batches_of

    try:
        build = row_builder(source.path, source.columns, detect_source(source))
    except UserError:
        return
    for batch in batches_of(source, build)():
        tally.add(batch.answers)


def _redacted(version: Version) -> bool:
    return any(each.parameters.get("redact") is True for each in lineage.ancestors(version))


def rank_rows(args: DataDifficultyArgs) -> DataDifficultyResult:
    """Measure every row, and keep the measures with the file's version."""
    from executor.data.difficulty import COLUMN, batches_of, difficulty

    source = open_source(args.path, args.sheet)
    batches = batches_of(source, row_builder(source.path, source.columns, detect_source(source)))
    if next(iter(batches()), None) is None:
        raise UserError("No row could be used", str(args.path), "Run `finetune data check` on it.")
    measured = difficulty(batches)
    version = store.ensure_source(source.path)
    kept = store.attach(version, COLUMN, measured.rows())
    order = [int(place) for place in measured.order()]
    easiest, hardest = order[: args.shown], order[::-1][: args.shown]
    inputs: dict[int, str] = {}
    wanted = {*easiest, *hardest}
    first = 0
    for batch in batches():
        inputs |= {first + i: text for i, text in enumerate(batch.asked) if first + i in wanted}
        first += len(batch)

    def shown(place: int) -> dict[str, Any]:
        text = " ".join(inputs.get(place, "").split())
        value = round(float(measured.difficulty[place]), 3)
        return {"line": int(measured.lines[place]), "difficulty": value, "input": text[:_EXCERPT]}

    return DataDifficultyResult(
        rows=len(order),
        version=version.id,
        file=str(kept),
        easiest=[shown(place) for place in easiest],
        hardest=[shown(place) for place in hardest],
    )


def _listed(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"- line {row['line']} ({row['difficulty']:.2f}): {to_markdown(row['input'])}" for row in rows]
    return "\n".join([f"{title}:", "", *lines]) if lines else ""


DESCRIBE_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_card",
        description="Write the dataset card of a file, split or version: source, splits, how it was made, quality, "
        "personal data and known gaps.",
        args=DataCardArgs,
        result=DataCardResult,
        run=write_card,
        command="finetune data card {path} -o {out} --name {name} --about {about} --license {license} "
        "--language {languages} --yes {overwrite}",
    ),
    Tool(
        name="data_difficulty",
        reads_only=True,
        description="Rank the rows of a data file from easy to hard to learn, for a curriculum, and keep the ranks "
        "with its version.",
        args=DataDifficultyArgs,
        result=DataDifficultyResult,
        run=rank_rows,
        command="finetune data difficulty {path}",
    ),
)
