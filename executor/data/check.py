"""What a place to train at asks of chat rows beyond being well formed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

from executor.data.batch import Batch
from executor.data.problem import Problem, error, has_error, in_file_order
from executor.data.quality import quality_judges
from executor.data.structure import row_problems
from executor.data.tool_use import STRICT, tool_problems

Row = dict[str, Any]
Target = Literal["local", "openai", "together"]
OPENAI_LEAST = 10
"""rows; OpenAI refuses a file with fewer (fine-tuning guide, "Example count recommendations")"""


def check(
    rows: Sequence[Row],
    lines: Sequence[int],
    target: Target = "local",
    count_tokens: Callable[[list[Row]], int] | None = None,
    context: int | None = None,
) -> list[Problem]:
    """Problems of `{"messages": ...}` rows in memory, in the order of the file, errors first.

    Without `count_tokens` or `context` nothing is said about length.
    """
    problems: list[Problem] = []
    batch = Batch()
    for row, line in zip(rows, lines, strict=True):
        found = row_problems(row, line)
        if not has_error(found):
            found = [*found, *target_problems(row, line, target)]
            batch.add(row, line)
        problems += found
    judges = quality_judges()
    if count_tokens and context:
        from executor.data.length import Length

        judges.append(Length(count_tokens, context))
    for judge in judges:
        problems += [*judge.add(batch), *judge.finish()]
    if too_few := too_few_rows(len(rows), target):
        problems.append(too_few)
    return in_file_order(problems)


def too_few_rows(rows: int, target: Target) -> Problem | None:
    """The target's least number of rows, where there are fewer."""
    if target != "openai" or rows >= OPENAI_LEAST:
        return None
    message = f"there are {rows} rows; OpenAI requires at least {OPENAI_LEAST}"
    return error("too_few_rows", message, "Add rows; 50 to 100 are a sensible start.")


def target_problems(row: Row, line: int, target: Target) -> list[Problem]:
    """The target's own rules for one well-formed chat row."""
    if target == "together":
        roles = [turn["role"] for turn in row["messages"] if turn["role"] not in ("system", "developer")]
        if "tool" not in roles and any(a == b for a, b in pairwise(roles)):
            message = "user and assistant do not take turns"
            return [error("roles_do_not_alternate", message, "Join messages of the same role.", line, "role")]
    if target == "openai":
        return _openai_problems(row, line)
    return []


def _openai_problems(row: Row, line: int) -> list[Problem]:
    turns = row["messages"]
    problems = []
    if any(turn["role"] == "developer" for turn in turns):
        message = 'the role "developer" is not accepted in training files'
        problems.append(error("bad_role", message, 'Use "system".', line, "role"))
    if any(turn["role"] != "assistant" and turn.get("weight") is not None for turn in turns):
        message = "a weight may stand on assistant messages only"
        problems.append(error("bad_weight", message, "Take the other weights out.", line, "weight"))
    linked = [found for found in tool_problems(row, turns, line) if found.code in STRICT]
    return [*problems, *(found.model_copy(update={"severity": "error"}) for found in linked)]
