"""Whether a file is well formed in its own shape: what `data inspect` and `data check` answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from executor.data.check import Target, target_problems, too_few_rows
from executor.data.convert import built_row, row_builder
from executor.data.preference import kto_problem, preference_problem
from executor.data.problem import Findings, Problem, error, warning
from executor.data.quality import Judge, quality_judges
from executor.data.rows import asked
from executor.data.shape import SFT_SHAPES, Shape, ShapeName
from executor.data.source import Source
from executor.data.survey import RowRule, Survey, survey

if TYPE_CHECKING:
    from executor.data.length import Length

Row = dict[str, Any]
_READ_BY: dict[Target, tuple[ShapeName, ...]] = {
    "local": get_args(ShapeName),
    "openai": ("messages",),
    "together": ("messages", "prompt_completion", "preference", "text"),
}
"""shapes each target takes as they are"""


@dataclass(frozen=True)
class Verdict:
    rows: int
    columns: list[str]
    findings: Findings
    quality: dict[str, Any] | None = None
    """`trainable_rows, kind, labels, codes, longest_input, longest_answer` (characters); None without such rows"""

    @property
    def valid(self) -> bool:
        return self.findings.valid


def inspected(source: Source, shape: Shape) -> Verdict:
    """Every row against its own shape; cells of a table may be empty."""
    return _verdict(source, shape, None, ())


def checked(
    source: Source,
    shape: Shape,
    target: Target = "local",
    judges: Sequence[Judge] | None = None,
    length: Length | None = None,
) -> Verdict:
    """As `inspected`, with the target's rules and the quality of the rows that can be trained on.

    `judges` are those that look at the quality; None: all of them. `length` counts tokens besides.
    """
    looking = [*(quality_judges() if judges is None else judges), *([length] if length else [])]
    verdict = _verdict(source, shape, target, looking)
    if verdict.quality is not None and length is not None:
        verdict.quality["tokens"] = length.summary()
    return verdict


def prompts_of(source: Source, shape: Shape) -> list[str]:
    """What users ask in a sample of production: the inputs of rows in any shape, else the one column of text."""
    if shape.name in SFT_SHAPES and not _unmapped(shape):
        build = row_builder(source.path, source.columns, shape)
        rows = [built_row(record, build).row for record in source.records() if record.row is not None]
        return [asked(row) for row in rows if row is not None]
    column = shape.mapping.get("user") or next((name for name in _TEXT_COLUMNS if name in source.columns), None)
    if column is None and len(source.columns) == 1:
        column = source.columns[0]
    texts = [str((record.row or {}).get(column) or "") for record in source.records()] if column else []
    return [text for text in texts if text.strip()]


_TEXT_COLUMNS = ("text", "prompt", "question", "query", "input", "user", "message", "content")


def _verdict(source: Source, shape: Shape, target: Target | None, judges: Sequence[Judge]) -> Verdict:
    found = _read(source, shape, target, judges)
    late: list[Problem] = []
    if shape.name == "unknown" or not found.readable:
        late.append(_unknown(shape, found.first_line))
    elif shape.name not in SFT_SHAPES:
        fix = "Use rows with an input and the reply to learn, or train with a method made for this shape."
        late.append(warning("not_sft", f"this is {shape.name} data, not supervised examples", fix))
    elif _unmapped(shape) and not (target is None and shape.name == "table"):
        late.append(_no_answer(shape, found.first_line))
    if target is not None and shape.name not in _READ_BY[target]:
        fix = "Run `finetune data format` first and give the result."
        late.append(error("wrong_shape_for_target", f"{target} does not read {shape.name} rows", fix))
    too_few = too_few_rows(found.rows, target) if target and found.trainable else None
    found.findings.add([*late, too_few] if too_few else late)
    quality = _quality(found) if target is not None and found.trainable and found.tally.rows else None
    return Verdict(found.rows, list(found.columns), found.findings, quality)


def _read(source: Source, shape: Shape, target: Target | None, judges: Sequence[Judge]) -> Survey:
    if shape.name not in SFT_SHAPES or _unmapped(shape) or (shape.name == "table" and target is None):
        return survey(source, None, rule=_RATED.get(shape.name))
    build = row_builder(source.path, source.columns, shape)
    rule = (lambda row, line: target_problems(row, line, target)) if target in ("openai", "together") else None
    return survey(source, build, rule, judges, plain=shape.name == "messages")


def _unmapped(shape: Shape) -> bool:
    return shape.name in ("table", "prompt_completion") and bool({"user", "assistant"} - shape.mapping.keys())


def _quality(found: Survey) -> dict[str, Any]:
    """What the rows that can be trained on look like; lengths in characters."""
    task = found.tally.task()
    return {
        "trainable_rows": found.trainable,
        "kind": task.kind,
        "labels": dict(sorted(found.tally.labels.items())) if task.kind == "label" else None,
        "codes": found.findings.codes(),
        "longest_input": found.longest_input,
        "longest_answer": task.longest_answer,
        "tokens": None,
    }


def _unknown(shape: Shape, line: int | None) -> Problem:
    fix = "Give one column for the input and one for the answer, or chat messages."
    return error("unknown_shape", f"no known shape of training data. {shape.why}", fix, line)


def _no_answer(shape: Shape, line: int | None) -> Problem:
    if shape.name == "table":
        fix = "Name the columns: finetune data format FILE -o OUT --map user=COLUMN --map assistant=COLUMN."
        return warning("no_mapping", shape.why, fix)
    fix = "Add a column with the reply to each prompt."
    return warning("not_sft", "there are prompts but no replies to learn", fix, line, "assistant")


def _preference(raw: Row, line: int) -> list[Problem]:
    found = preference_problem(raw, line)
    return [found] if found else []


def _kto(raw: Row, line: int) -> list[Problem]:
    found = kto_problem(raw, line)
    return [found] if found else []


_RATED: dict[ShapeName, RowRule] = {"preference": _preference, "kto": _kto}
"""shapes of rated replies: what is wrong with one row"""
