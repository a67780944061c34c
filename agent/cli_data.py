"""`finetune data ...`: one command for each data tool."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.output import emit_result
from tools.base import Interrupted, UsageError

app = typer.Typer(no_args_is_help=True, help="Look at, convert, check, clean and split a data file.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Where to write.")]
File = Annotated[Path, typer.Argument(help="The data file.")]
Sheet = Annotated[str | None, typer.Option(help="Which sheet of a workbook.")]


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM alike leave no temporary file, and are told in a line."""

    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Interrupted", "", "What was not finished was not written.") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def run(name: str, as_json: bool, /, **args: Any) -> None:
    from tools import TOOLS

    tool = next(tool for tool in TOOLS if tool.name == name)
    with stoppable():
        code = emit_result(tool.call(**args), as_json)
    raise typer.Exit(code)


def mapping(pairs: list[str] | None) -> dict[str, str]:
    """`user=COLUMN` pairs. Raises UsageError."""
    parsed = [pair.split("=", 1) for pair in pairs or []]
    if any(len(pair) != 2 for pair in parsed):
        raise UsageError(
            "A --map is not of the form ROLE=COLUMN", "--map", "Write --map user=text --map assistant=label."
        )
    return {role.strip(): column for role, column in parsed}


@app.command("inspect")
def inspect(file: File, sheet: Sheet = None, json: Json = False) -> None:
    """What a file is: format, encoding, columns, shape."""
    run("data_inspect", json, path=file, sheet=sheet)


@app.command("format")
def format_rows(
    file: File,
    out: Out,
    to: Annotated[str, typer.Option(help="messages, prompt_completion, preference, sharegpt or alpaca")] = "messages",
    map: Annotated[list[str] | None, typer.Option("--map", help="ROLE=COLUMN, for tables")] = None,  # noqa: A002
    system: Annotated[str | None, typer.Option(help="A fixed system message.")] = None,
    user: Annotated[str | None, typer.Option(help='A template such as "Subject: {subject}".')] = None,
    assistant: Annotated[str | None, typer.Option(help="A template of the reply.")] = None,
    sheet: Sheet = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing output.")] = False,
    json: Json = False,
) -> None:
    """Convert a file to a training layout; every rejected row is named."""
    more = {"sheet": sheet, "system": system, "user": user, "assistant": assistant, "overwrite": yes}
    run("data_format", json, path=file, out=out, to=to, map=mapping(map), **more)


@app.command("check")
def check(
    file: File,
    target: Annotated[str, typer.Option("--for", help="local, openai or together")] = "local",
    base_model: Annotated[str | None, typer.Option(help="Count tokens as this model does.")] = None,
    production: Annotated[Path | None, typer.Option(help="A sample of real prompts to compare with.")] = None,
    against: Annotated[Path | None, typer.Option(help="Name rows that this file holds too.")] = None,
    quality: Annotated[bool, typer.Option(help="--no-quality looks at the structure only, many times faster.")] = True,
    sheet: Sheet = None,
    json: Json = False,
) -> None:
    """Errors and quality problems, with line and fix. Exit code 1 if the file is not valid."""
    more = {"base_model": base_model, "production": production, "against": against, "quality": quality, "sheet": sheet}
    run("data_check", json, path=file, target=target, **more)


@app.command("clean")
def clean(
    file: File,
    out: Out,
    fix: Annotated[list[str] | None, typer.Option(help="Code of a problem to fix; may be repeated.")] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Replace personal data and secrets.")] = False,
    sheet: Sheet = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing output.")] = False,
    json: Json = False,
) -> None:
    """Repair or drop rows; without --fix what loses nothing. Every row touched is logged."""
    run("data_clean", json, path=file, out=out, fix=tuple(fix or ()), redact=redact, sheet=sheet, overwrite=yes)


@app.command("split")
def split(
    file: File,
    out: Out,
    ratios: Annotated[str, typer.Option(help="train,validation,test")] = ".8,.1,.1",
    group_by: Annotated[str | None, typer.Option(help="A column whose rows stay on one side.")] = None,
    seed: int = 0,
    sheet: Sheet = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace existing files.")] = False,
    json: Json = False,
) -> None:
    """Train, validation and test without near-duplicates on both sides."""
    try:
        parts = tuple(float(part) for part in ratios.split(","))
    except ValueError:
        raise UsageError(f'"{ratios}" are not ratios', "--ratios", "Write --ratios .8,.1,.1.") from None
    if len(parts) != 3:
        raise UsageError("Three ratios are needed", "--ratios", "Write --ratios .8,.1,.1.")
    more = {"group_by": group_by, "seed": seed, "sheet": sheet, "overwrite": yes}
    run("data_split", json, path=file, out=out, ratios=parts, **more)


@app.command("sample")
def sample(
    file: File,
    out: Out,
    n: Annotated[int, typer.Option("-n", help="How many rows.")] = 50,
    seed: int = 0,
    sheet: Sheet = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing output.")] = False,
    json: Json = False,
) -> None:
    """Rows for a person to read, worst first, with some that nothing was found in."""
    run("data_sample", json, path=file, out=out, n=n, seed=seed, sheet=sheet, overwrite=yes)


@app.command("review")
def review(
    sample: Annotated[Path, typer.Argument(help="A file that `finetune data sample` wrote.")],
    apply: Annotated[Path | None, typer.Option(help="Carry the decisions out on this data file.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to write, with --apply.")] = None,
    sheet: Sheet = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing output.")] = False,
    json: Json = False,
) -> None:
    """Read the sample row by row and keep, drop or edit; with --apply carry out what was decided."""
    if apply is None:
        from agent.tui.review import open_review

        raise typer.Exit(open_review(sample))
    if out is None:
        raise UsageError("--apply needs a place to write", "-o", "Write -o OUT.")
    run("data_review_apply", json, path=apply, sample=sample, out=out, sheet=sheet, overwrite=yes)


@app.command("history")
def history(
    path: Annotated[Path | None, typer.Argument(help="A file, a split folder or a version.")] = None, json: Json = False
) -> None:
    """The versions of a dataset: what came of what, by which step."""
    run("data_history", json, path=path)


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="A version or a file.")],
    b: Annotated[str, typer.Argument(help="A version or a file.")],
    examples: Annotated[int, typer.Option(help="Most examples of each kind of change.")] = 5,
    json: Json = False,
) -> None:
    """Rows added, removed and changed between two versions or files."""
    run("data_diff", json, a=a, b=b, examples=examples)


@app.command("undo")
def undo(
    version: Annotated[str, typer.Argument(help="The version to undo, or the file it wrote last.")],
    yes: Annotated[bool, typer.Option("--yes", help="Replace a file that was changed by hand since.")] = False,
    json: Json = False,
) -> None:
    """What the file held before a version is written back, as a new version."""
    run("data_undo", json, version=version, overwrite=yes)


@app.command("card")
def card(
    path: Annotated[str, typer.Argument(help="A file, a split folder or a version.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to write it; else it is shown.")] = None,
    name: Annotated[str | None, typer.Option(help="What the dataset is called.")] = None,
    about: Annotated[str | None, typer.Option(help="What the rows are.")] = None,
    license: Annotated[str | None, typer.Option(help="Such as cc-by-4.0.")] = None,  # noqa: A002
    language: Annotated[list[str] | None, typer.Option(help="ISO 639 code; may be repeated.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace an existing card.")] = False,
    json: Json = False,
) -> None:
    """A dataset card: source, splits, how it was made, quality, personal data, gaps."""
    more = {"name": name, "about": about, "license": license, "languages": tuple(language or ()), "overwrite": yes}
    run("data_card", json, path=path, out=out, **more)


@app.command("difficulty")
def difficulty(
    file: File,
    shown: Annotated[int, typer.Option(help="How many of the easiest and hardest rows are named.")] = 5,
    sheet: Sheet = None,
    json: Json = False,
) -> None:
    """Rank the rows from easy to hard to learn; the ranks are kept with the version."""
    run("data_difficulty", json, path=file, shown=shown, sheet=sheet)
