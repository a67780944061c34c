"""All that is wrong with chat rows at once: structure first, the target's rules, then quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from executor.data.problem import Problem, error, has_error, in_file_order, warning
from executor.data.quality import quality_problems
from executor.data.structure import row_problems

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
    """Problems of `{"messages": …}` rows in the order of the file, errors first.

    `count_tokens` gives the tokens of a list of messages; without it or `context` nothing is said about length.
    """
    problems: list[Problem] = []
    sound: list[tuple[Row, int]] = []
    for row, line in zip(rows, lines, strict=True):
        found = [*row_problems(row, line)]
        if not has_error(found):
            sound.append((row, line))
            found += _target_problems(row, line, target)
            found += _length(row, line, count_tokens, context)
        problems += found
    problems += quality_problems([row for row, _ in sound], [line for _, line in sound])
    if target == "openai" and len(rows) < OPENAI_LEAST:
        message = f"there are {len(rows)} rows; OpenAI requires at least {OPENAI_LEAST}"
        problems.append(error("too_few_rows", message, "Add rows; 50 to 100 are a sensible start."))
    return in_file_order(problems)


def _length(
    row: Row, line: int, count_tokens: Callable[[list[Row]], int] | None, context: int | None
) -> Iterator[Problem]:
    if count_tokens is None or context is None:
        return
    tokens = count_tokens(row["messages"])
    if tokens > context:
        message = f"the row has {tokens} tokens, the model reads {context}: the end, which is the answer, is lost"
        yield warning("too_long", message, "Shorten the input or take a model with a longer context.", line)


def _target_problems(row: Row, line: int, target: Target) -> Iterator[Problem]:
    if target == "together":
        roles = [turn["role"] for turn in row["messages"] if turn["role"] not in ("system", "developer")]
        if "tool" not in roles and any(a == b for a, b in pairwise(roles)):
            message = "user and assistant do not take turns"
            yield error("roles_do_not_alternate", message, "Join messages of the same role.", line, "role")
    if target == "openai" and any(turn["role"] == "developer" for turn in row["messages"]):
        message = 'the role "developer" is not accepted in training files'
        yield error("bad_role", message, 'Use "system".', line, "role")
