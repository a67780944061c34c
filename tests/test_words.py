"""What the texts promise exists: commands, options, and files short enough to read in one go."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import ROOT

from agent.cli import app

ROOMS = ("agent", "tools", "knowledge", "executor")
SAID = re.compile(r"(?<![-\w])finetune(?= \S)(?P<words>[^`\"'\n]*)")
OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*|-[a-z])\b")
USERS = ("situations.yaml", "situations_more.yaml", "languages.yaml")
"""What users say, searched and never shown; `utterances/` and the `suites/` are of that kind too."""

LONGEST_FILE = 350
LONGEST_FUNCTION = 60


def texts() -> list[Path]:
    """Everything that is written for people or put in front of a model."""
    found = [
        ROOT / "README.md",
        *(path for room in ROOMS for end in ("py", "md", "yaml") for path in (ROOT / room).rglob(f"*.{end}")),
    ]
    return sorted(path for path in found if not {"suites", "utterances"} & set(path.parts) and path.name not in USERS)


def commands() -> dict[tuple[str, ...], set[str]]:
    """Every command of the application and its options; () is the application itself."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found[path] = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()


def mentions() -> Iterator[tuple[str, str]]:
    """(file and line, what follows `finetune `) wherever a text names a command."""
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for match in SAID.finditer(line):
                yield f"{path.relative_to(ROOT)}:{number}", re.split(r"\s{2,}", match["words"].strip())[0]


def fault(said: str) -> str | None:
    """What is wrong with a command line, or None."""
    path: tuple[str, ...] = ()
    for word in said.split():
        if (*path, word.rstrip(".,;:)")) not in COMMANDS:
            break
        path = (*path, word.rstrip(".,;:)"))
    first = said.split()[0]
    if not path and not first.startswith("-"):
        return f'no command "{first}"'
    group = [known[-1] for known in COMMANDS if known[:-1] == path and path]
    words = said.split()[len(path) :]
    if group and path != ("runs",) and words and not words[0].startswith(("-", ".")):
        return f'no command "{" ".join(path)} {words[0]}"'
    unknown = set(OPTION.findall(said)) - COMMANDS[path] - {"--help", "-h"}
    return f"`{' '.join(path)}` has no {', '.join(sorted(unknown))}" if unknown else None


def test_every_command_and_option_that_is_named_exists() -> None:
    found = list(mentions())
    assert len(found) > 40, "the texts name commands"
    assert {where.split("/")[0].split(":")[0] for where, _ in found} >= {"README.md", *ROOMS}
    faults = [f"{where}: {wrong} in `finetune {said}`" for where, said in found if (wrong := fault(said))]
    assert faults == []


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("go DATA --target 0.9", None),
        ("data check rows.jsonl --for openai", None),
        ("train --resume {run.name}", None),
        ("--help", None),
        ("runs show RUN", None),
        ("fly DATA", 'no command "fly"'),
        ("data polish rows.jsonl", 'no command "data polish"'),
        ("go DATA --faster", "`go` has no --faster"),
    ],
)
def test_the_reader_of_commands_sees_what_is_wrong(said: str, wrong: str | None) -> None:
    assert fault(said) == wrong


def python_files() -> list[Path]:
    return [path for room in (*ROOMS, "tests") for path in sorted((ROOT / room).rglob("*.py"))]


def test_no_file_is_too_long_to_read() -> None:
    files = python_files()
    assert len(files) > 80
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long_to_read() -> None:
    functions = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(functions) > 500
    assert {name: lines for name, lines in functions.items() if lines > LONGEST_FUNCTION} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in python_files() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
