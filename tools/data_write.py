"""Data tools that write a new file: convert, clean, split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data import store
from executor.data.clean_file import clean_file
from executor.data.convert import row_builder
from executor.data.export import Layout
from executor.data.problem import Problem
from executor.data.read import open_source
from executor.data.reformat import reformat
from executor.data.shape import detect_source
from executor.data.split import PARTS
from executor.data.split_file import split_file
from executor.errors import nearest
from tools.base import Args, Result, Tool, UserError
from tools.problems import listed


class FormatArgs(Args):
    path: Path
    """the data file"""
    out: Path
    """where to write the JSON lines"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    to: Layout = "messages"
    """layout of the output"""
    map: dict[str, str] = Field(default_factory=dict)
    """which column is user, assistant, system"""
    system: str | None = None
    """a fixed system message"""
    user: str | None = None
    """template of the user message, such as "Subject: {subject}" """
    assistant: str | None = None
    """template of the reply"""
    overwrite: bool = False
    """replace an existing output"""


class FormatResult(Result):
    in_rows: int
    out_rows: int
    rejected_rows: int
    rejected: list[Problem]
    """why each row was left out: the same fault that a check of the file finds, and as grave"""
    out: str
    sha256: str
    version: str
    """the dataset version that was recorded"""

    def text(self) -> str:
        head = f"Wrote {self.out_rows} of {self.in_rows} rows to {self.out}; {self.rejected_rows} were rejected."
        return "\n\n".join([head, *listed(self.rejected, "left out")])


class CleanArgs(Args):
    path: Path
    """the data file"""
    out: Path
    """where to write the cleaned chat rows as JSON lines"""
    fix: tuple[str, ...] = ()
    """codes of problems to fix; none: those whose fix loses nothing"""
    redact: bool = False
    """replace personal data and secrets by stand-ins such as [EMAIL]"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    overwrite: bool = False
    """replace an existing output"""


class CleanResult(Result):
    in_rows: int
    out_rows: int
    removed: int
    changed: int
    log: str
    """JSON lines: each row touched, what was done and why"""
    out: str
    sha256: str
    fixes: tuple[str, ...]
    version: str
    """the dataset version that was recorded"""

    def text(self) -> str:
        done = f"{self.removed} removed, {self.changed} changed ({', '.join(self.fixes)})"
        return (
            f"Wrote {self.out_rows} of {self.in_rows} rows to {self.out}: {done}. Every row touched is in {self.log}."
        )


class SplitArgs(Args):
    path: Path
    """the data file"""
    out: Path
    """folder for train.jsonl, validation.jsonl and test.jsonl"""
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """train, validation, test; together 1"""
    group_by: str | None = None
    """column whose rows must stay on one side, such as a customer or a document"""
    seed: int = 0
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    overwrite: bool = False
    """replace existing files"""


class SplitResult(Result):
    train: dict[str, Any]
    validation: dict[str, Any]
    test: dict[str, Any]
    clusters: int
    leakage: int
    seed: int
    rejected_rows: int
    """rows that could not be converted and are in no part"""
    version: str
    """the dataset version that was recorded"""

    def text(self) -> str:
        sizes = ", ".join(f"{name} {getattr(self, name)['rows']}" for name in PARTS)
        lost = f" {self.rejected_rows} rows could not be used." if self.rejected_rows else ""
        kept = f"{self.clusters} clusters of near-duplicates and groups were kept whole; leakage {self.leakage}."
        return f"Split into {sizes} rows (seed {self.seed}).{lost} {kept}"


def format_rows(args: FormatArgs) -> FormatResult:
    refuse_overwriting(args.path, [args.out], args.overwrite)
    source = open_source(args.path, args.sheet)
    shape = detect_source(source)
    pairs = args.to == "preference" and shape.name == "preference"
    parts = (args.map or None, args.system, args.user, args.assistant)
    build = None if pairs else row_builder(source.path, source.columns, shape, *parts)
    keep_what_is_there([args.out])
    done = reformat(source, build, args.out, args.to)
    given = args.model_dump(
        mode="json", include={"to", "map", "system", "user", "assistant", "sheet"}, exclude_none=True
    )
    version = store.record(args.out, "format", given, [store.ensure_source(source.path)], done.out_rows)
    return FormatResult(
        in_rows=done.in_rows,
        out_rows=done.out_rows,
        rejected_rows=done.rejected_rows,
        rejected=sorted(done.rejected.problems(), key=lambda problem: problem.line or 0),
        out=str(args.out.absolute()),
        sha256=done.sha256,
        version=version.id,
    )


def clean_rows(args: CleanArgs) -> CleanResult:
    log = args.out.with_name(f"{args.out.name}.log.jsonl")
    refuse_overwriting(args.path, [args.out, log], args.overwrite)
    source = open_source(args.path, args.sheet)
    build = row_builder(source.path, source.columns, detect_source(source))
    keep_what_is_there([args.out])
    done = clean_file(source, build, args.out, log, args.fix, args.redact)
    given = {"fix": list(done.fixes), "redact": args.redact}
    version = store.record(args.out, "clean", given, [store.ensure_source(source.path)], done.out_rows, log=log)
    return CleanResult(
        in_rows=done.in_rows,
        out_rows=done.out_rows,
        removed=done.removed,
        changed=done.changed,
        log=str(log.absolute()),
        out=str(args.out.absolute()),
        sha256=done.sha256,
        fixes=(*done.fixes, "redact") if args.redact else done.fixes,
        version=version.id,
    )


def split_rows(args: SplitArgs) -> SplitResult:
    paths = {name: args.out / f"{name}.jsonl" for name in PARTS}
    refuse_overwriting(args.path, list(paths.values()), args.overwrite)
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out.name} is a file", str(args.out), "Give a folder.")
    source = open_source(args.path, args.sheet)
    if args.group_by is not None and args.group_by not in source.columns:
        hint = nearest(args.group_by, source.columns) or f"Columns: {', '.join(source.columns)}."
        raise UserError(f'There is no column "{args.group_by}"', str(source.path), hint)
    build = row_builder(source.path, source.columns, detect_source(source))
    keep_what_is_there(list(paths.values()))
    done = split_file(source, build, paths, args.ratios, args.seed, args.group_by)
    given = {"ratios": list(args.ratios), "seed": args.seed, "group_by": args.group_by}
    counted = {name: (paths[name], done.rows[name]) for name in PARTS}
    version = store.record(args.out, "split", given, [store.ensure_source(source.path)], parts=counted)
    parts = {name: {"path": str(paths[name].absolute()), "rows": done.rows[name]} for name in PARTS}
    return SplitResult(
        **parts,
        clusters=done.clusters,
        leakage=done.leakage,
        seed=args.seed,
        rejected_rows=done.rejected,
        version=version.id,
    )


def keep_what_is_there(outputs: Sequence[Path]) -> None:
    """Record what the outputs hold now, so that it can be brought back."""
    for out in outputs:
        if out.exists():
            store.ensure_source(out)


def refuse_overwriting(source: Path, outputs: Sequence[Path], allowed: bool) -> None:
    for out in outputs:
        if out.exists() and source.exists() and out.samefile(source):
            raise UserError("The output is the input file itself", str(out), "Give another output.")
        if out.is_dir():
            raise UserError(f"{out.name} is a folder", str(out), "Give a file name.")
        if out.exists() and not allowed:
            raise UserError(f"{out.name} exists already", str(out), "Give another output, or allow overwriting.")


WRITE_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_format",
        description="Convert a data file to chat messages or another training layout, naming every rejected row.",
        args=FormatArgs,
        result=FormatResult,
        run=format_rows,
        command="finetune data format {path} -o {out} --to {to} --map {map} --system {system} --user {user} "
        "--assistant {assistant} --sheet {sheet} --yes {overwrite}",
    ),
    Tool(
        name="data_clean",
        description="Clean a data file: repair or drop rows with chosen problems, replace personal data, and log every "
        "row touched.",
        args=CleanArgs,
        result=CleanResult,
        run=clean_rows,
        command="finetune data clean {path} -o {out} --fix {fix} --redact {redact} --sheet {sheet} --yes {overwrite}",
    ),
    Tool(
        name="data_split",
        description="Split a data file into train, validation and test without near-duplicates on both sides.",
        args=SplitArgs,
        result=SplitResult,
        run=split_rows,
        command="finetune data split {path} -o {out} --ratios {ratios} --group-by {group_by} --seed {seed} "
        "--sheet {sheet} --yes {overwrite}",
    ),
)
