"""Data tools: what a file is, convert it, check it, split it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data.check import Target
from executor.data.convert import row_builder
from executor.data.export import Layout
from executor.data.problem import Findings, Problem, error
from executor.data.read import open_source
from executor.data.reformat import reformat
from executor.data.shape import detect_source
from executor.data.source import EmptyFileError
from executor.data.split import PARTS
from executor.data.split_file import split_file
from executor.data.verdict import Verdict, checked, inspected
from executor.errors import nearest
from tools.base import Args, Result, Tool, UserError

__all__ = ["DATA_TOOLS"]

_SHOWN = 12
"""problems listed in a text answer"""


class InspectArgs(Args):
    path: Path
    """the data file"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""


class InspectResult(Result):
    valid: bool
    format: str
    shape: str
    encoding: str | None
    delimiter: str | None
    sheets: list[str] | None
    rows: int
    columns: list[str]
    suggested_map: dict[str, str] | None
    problems: list[Problem]
    why: str
    """one sentence that explains the shape"""

    def text(self) -> str:
        state = "well formed" if self.valid else "**not well formed**"
        encoding = f", {self.encoding}" if self.encoding else ""
        lines = [f"{self.rows} rows of shape **{self.shape}** ({self.format}{encoding}), {state}. {self.why}"]
        lines += [f"Columns: {', '.join(self.columns)}."] if self.columns else []
        if self.suggested_map:
            lines.append("Suggested: " + " ".join(f"--map {part}={name}" for part, name in self.suggested_map.items()))
        return "\n\n".join([*lines, *_listed(self.problems)])


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
    out: str
    sha256: str

    def text(self) -> str:
        head = f"Wrote {self.out_rows} of {self.in_rows} rows to {self.out}; {self.rejected_rows} were rejected."
        return "\n\n".join([head, *_listed(self.rejected)])


class CheckArgs(Args):
    path: Path
    """the data file"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    target: Target = "local"
    """where the data shall be trained on"""


class CheckResult(Result):
    valid: bool
    target: str
    rows: int
    problems: list[Problem]
    counts: dict[str, int]
    quality: dict[str, Any] | None
    """`trainable_rows, kind, labels, codes, longest_input, longest_answer` (characters), `tokens`"""

    @property
    def exit_code(self) -> int:
        return 0 if self.valid else 1

    def text(self) -> str:
        state = "The data is valid" if self.valid else "The data is **not valid**"
        head = f"{state} for {self.target}: {self.rows} rows, {_counted(self.counts)}."
        return "\n\n".join([head, *_listed(self.problems)])


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

    def text(self) -> str:
        sizes = ", ".join(f"{name} {getattr(self, name)['rows']}" for name in PARTS)
        lost = f" {self.rejected_rows} rows could not be used." if self.rejected_rows else ""
        kept = f"{self.clusters} clusters of near-duplicates and groups were kept whole; leakage {self.leakage}."
        return f"Split into {sizes} rows (seed {self.seed}).{lost} {kept}"


def inspect(args: InspectArgs) -> InspectResult:
    try:
        source = open_source(args.path, args.sheet)
    except EmptyFileError as empty:
        return _empty_inspection(empty)
    shape = detect_source(source)
    verdict = inspected(source, shape)
    return InspectResult(
        valid=verdict.valid,
        format=source.format,
        shape=shape.name,
        encoding=source.encoding,
        delimiter=source.delimiter,
        sheets=source.sheets,
        rows=verdict.rows,
        columns=verdict.columns,
        suggested_map=shape.mapping or None,
        problems=verdict.findings.problems(),
        why=shape.why,
    )


def format_rows(args: FormatArgs) -> FormatResult:
    refuse_overwriting(args.path, [args.out], args.overwrite)
    source = open_source(args.path, args.sheet)
    shape = detect_source(source)
    pairs = args.to == "preference" and shape.name == "preference"
    parts = (args.map or None, args.system, args.user, args.assistant)
    build = None if pairs else row_builder(source.path, source.columns, shape, *parts)
    done = reformat(source, build, args.out, args.to)
    return FormatResult(
        in_rows=done.in_rows,
        out_rows=done.out_rows,
        rejected_rows=done.rejected_rows,
        rejected=sorted(done.rejected.problems(), key=lambda problem: problem.line or 0),
        out=str(args.out.absolute()),
        sha256=done.sha256,
    )


def check_rows(args: CheckArgs) -> CheckResult:
    try:
        source = open_source(args.path, args.sheet)
    except EmptyFileError as empty:
        findings = Findings()
        findings.add([_empty_problem(empty)])
        return _checked(args.target, Verdict(0, [], findings))
    return _checked(args.target, checked(source, detect_source(source), args.target))


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
    done = split_file(source, build, paths, args.ratios, args.seed, args.group_by)
    parts = {name: {"path": str(paths[name].absolute()), "rows": done.rows[name]} for name in PARTS}
    return SplitResult(
        **parts, clusters=done.clusters, leakage=done.leakage, seed=args.seed, rejected_rows=done.rejected
    )


def _checked(target: Target, verdict: Verdict) -> CheckResult:
    return CheckResult(
        valid=verdict.valid,
        target=target,
        rows=verdict.rows,
        problems=verdict.findings.problems(),
        counts=verdict.findings.counts(),
        quality=verdict.quality,
    )


def _empty_problem(empty: EmptyFileError) -> Problem:
    return error("empty_file", empty.what, empty.fix)


def _empty_inspection(empty: EmptyFileError) -> InspectResult:
    return InspectResult(
        valid=False,
        format="unknown",
        shape="unknown",
        encoding=None,
        delimiter=None,
        sheets=None,
        rows=0,
        columns=[],
        suggested_map=None,
        problems=[_empty_problem(empty)],
        why="There are no rows.",
    )


def refuse_overwriting(source: Path, outputs: Sequence[Path], allowed: bool) -> None:
    for out in outputs:
        if out.exists() and source.exists() and out.samefile(source):
            raise UserError("The output is the input file itself", str(out), "Give another output.")
        if out.is_dir():
            raise UserError(f"{out.name} is a folder", str(out), "Give a file name.")
        if out.exists() and not allowed:
            raise UserError(f"{out.name} exists already", str(out), "Give another output, or allow overwriting.")


def _counted(totals: dict[str, int]) -> str:
    return ", ".join(f"{n} {severity}{'' if n == 1 else 's'}" for severity, n in totals.items())


def _listed(problems: Sequence[Problem]) -> list[str]:
    """The first problems as a Markdown list, and how many more there are."""
    if not problems:
        return []
    lines = [
        f"- {problem.severity}{f', line {problem.line}' if problem.line else ''}: {problem.message}. {problem.fix}"
        for problem in problems[:_SHOWN]
    ]
    more = len(problems) - _SHOWN
    return ["\n".join([*lines, f"- and {more} more"] if more > 0 else lines)]


DATA_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_inspect",
        description="Say what a data file is: format, encoding, columns, shape and a suggested column mapping. "
        "Call it first on any file the user names.",
        args=InspectArgs,
        result=InspectResult,
        run=inspect,
        command="finetune data inspect {path}",
    ),
    Tool(
        name="data_format",
        description="Convert a data file to chat messages or another training layout, naming every rejected row.",
        args=FormatArgs,
        result=FormatResult,
        run=format_rows,
        command="finetune data format {path} -o {out} --to {to}",
    ),
    Tool(
        name="data_check",
        description="Check a data file for errors and judge its quality: duplicates, conflicting answers, personal "
        "data, labels. Call it before training.",
        args=CheckArgs,
        result=CheckResult,
        run=check_rows,
        command="finetune data check {path} --for {target}",
    ),
    Tool(
        name="data_split",
        description="Split a data file into train, validation and test without near-duplicates on both sides.",
        args=SplitArgs,
        result=SplitResult,
        run=split_rows,
        command="finetune data split {path} -o {out} --seed {seed}",
    ),
)
