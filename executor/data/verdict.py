"""Whether a file is well formed in its own shape: what `data inspect` and `data check` answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from executor.data.check import Target, check
from executor.data.convert import Converted, to_messages
from executor.data.export import preference_problem
from executor.data.problem import Problem, error, has_error, in_file_order, warning
from executor.data.read import RawTable
from executor.data.rows import answer, asked
from executor.data.shape import SFT_SHAPES, Shape, ShapeName, turns_of
from executor.data.task import describe

Row = dict[str, Any]
_SOFT = frozenset({"empty_content", "unsupported_content"})
"""faults that keep a row from being trained on although it is well formed"""
_READ_BY: dict[Target, tuple[ShapeName, ...]] = {
    "local": get_args(ShapeName),
    "openai": ("messages",),
    "together": ("messages", "prompt_completion", "preference", "text"),
}
"""shapes each target takes as they are"""


@dataclass(frozen=True)
class Verdict:
    problems: list[Problem]
    converted: Converted = field(default_factory=Converted)
    """the rows that can be trained on; empty for shapes without replies"""

    @property
    def valid(self) -> bool:
        return not has_error(self.problems)


def quality(verdict: Verdict) -> dict[str, Any] | None:
    """What the rows that can be trained on look like; lengths in characters. None where there are none."""
    rows = verdict.converted.rows
    if not rows:
        return None
    task = describe(rows)
    labels = Counter(answer(row) for row in rows) if task.kind == "label" else None
    return {
        "trainable_rows": len(rows),
        "kind": task.kind,
        "labels": dict(sorted(labels.items())) if labels is not None else None,
        "codes": dict(sorted(Counter(problem.code for problem in verdict.problems).items())),
        "longest_input": max(len(asked(row)) for row in rows),
        "longest_answer": task.longest_answer,
        "tokens": None,
    }


def inspected(table: RawTable, shape: Shape) -> Verdict:
    """Every row against its own shape; cells of a table may be empty."""
    converted, problems = _shape_problems(table, shape, plain_tables=True)
    return Verdict(in_file_order([*table.problems, *problems]), converted)


def checked(
    table: RawTable,
    shape: Shape,
    target: Target = "local",
    count_tokens: Callable[[list[Row]], int] | None = None,
    context: int | None = None,
) -> Verdict:
    """As `inspected`, with the target's rules and the quality of the rows that can be trained on."""
    converted, problems = _shape_problems(table, shape, plain_tables=False)
    if converted.rows:
        problems += check(converted.rows, converted.lines, target, count_tokens, context)
    if shape.name not in _READ_BY[target]:
        fix = "Run `finetune data format` first and give the result."
        problems.append(error("wrong_shape_for_target", f"{target} does not read {shape.name} rows", fix))
    return Verdict(in_file_order([*table.problems, *problems]), converted)


def _shape_problems(table: RawTable, shape: Shape, plain_tables: bool) -> tuple[Converted, list[Problem]]:
    if shape.name == "unknown" or not any(i not in table.broken for i in range(len(table.rows))):
        fix = "Give one column for the input and one for the answer, or chat messages."
        line = table.lines[0] if table.lines else None
        return Converted(), [error("unknown_shape", f"no known shape of training data. {shape.why}", fix, line)]
    if shape.name not in SFT_SHAPES:
        return Converted(), _not_sft(table, shape)
    if {"user", "assistant"} - shape.mapping.keys() and shape.name in ("table", "prompt_completion"):
        return Converted(), [] if plain_tables and shape.name == "table" else [_no_answer(table, shape)]
    if shape.name == "table" and plain_tables:
        return Converted(), []
    converted = to_messages(table, shape)
    return converted, [p.as_warning() if p.code in _SOFT else p for p in converted.problems]


def _no_answer(table: RawTable, shape: Shape) -> Problem:
    if shape.name == "table":
        fix = "Name the columns: finetune data format FILE -o OUT --map user=COLUMN --map assistant=COLUMN."
        return warning("no_mapping", shape.why, fix)
    fix = "Add a column with the reply to each prompt."
    return warning("not_sft", "there are prompts but no replies to learn", fix, table.lines[0], "assistant")


def _not_sft(table: RawTable, shape: Shape) -> list[Problem]:
    problems: list[Problem] = []
    for index, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        if index in table.broken:
            continue
        found = preference_problem(row, line) if shape.name == "preference" else None
        if shape.name == "kto":
            found = _kto_problem(row, line)
        if found:
            problems.append(found)
    fix = "Use rows with an input and the reply to learn, or train with a method made for this shape."
    problems.append(warning("not_sft", f"this is {shape.name} data, not supervised examples", fix))
    return problems


def _kto_problem(row: Row, line: int) -> Problem | None:
    if not isinstance(row.get("label", row.get("kto_tag")), bool):
        return error("missing_field", 'the row has no true/false "label"', "Label each reply.", line, "label")
    if not isinstance(turns_of(row), list) and not row.get("completion"):
        return error("missing_field", "the row has no reply", "Give messages or prompt and completion.", line)
    return None
