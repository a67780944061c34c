"""The command line that does the same as a tool call."""

from __future__ import annotations

import json
import shlex
from string import Formatter
from typing import Any

from tools.base import Tool


def command_line(tool: Tool[Any, Any], args: dict[str, Any]) -> str:
    """`tool.command` filled with `args`, quoted for a shell; an option without a value is left out.

    A switch stands alone where it is on.

    >>> "finetune go {data} --test {test}" with data="a b.csv"  ->  finetune go 'a b.csv'
    """
    words: list[str] = []
    for word in tool.command.replace('"', "").split():
        fields = [field for _, field, _, _ in Formatter().parse(word) if field]
        values = {field: value_of(tool, field, args) for field in fields}
        if any(value is None or value is False or value == () for value in values.values()):
            if words and words[-1].startswith("--"):
                words.pop()
            continue
        if any(value is True for value in values.values()):
            continue  # a switch: the option alone
        words += option_words(word, values, words)
    return " ".join(words)


def option_words(word: str, values: dict[str, Any], before: list[str]) -> list[str]:
    """The word with its values; a mapping repeats its option for each pair, a list is joined by commas."""
    if len(values) == 1 and isinstance(pairs := next(iter(values.values())), dict):
        each = [quoted(f"{key}={value}") for key, value in pairs.items()]
        return [part for index, pair in enumerate(each) for part in ([before[-1], pair] if index else [pair])]
    text = {k: ",".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for k, v in values.items()}
    return [word.format(**{field: quoted(value) for field, value in text.items()})]


def quoted(text: str) -> str:
    """The text for a shell, on one line: whoever approves a command reads nothing that is not part of it."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + text.encode("unicode_escape").decode().replace("'", "\\'") + "'"


def value_of(tool: Tool[Any, Any], field: str, args: dict[str, Any]) -> Any:
    """The argument, or its default; None where it has neither."""
    known = tool.args.model_fields.get(field)
    default = known.default if known and not known.is_required() else None
    return args.get(field, default)


def call_text(tool: str, args: dict[str, Any]) -> str:
    """Tells one call from another, so that an agreement holds for what was shown and nothing else."""
    return json.dumps([tool, args], sort_keys=True, default=str)
