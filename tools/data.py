"""Data tools that only look: what a file is, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor.data.check import Target
from executor.data.convert import row_builder
from executor.data.problem import Findings, Problem, error, warning
from executor.data.quality import Judge, quality_judges
from executor.data.read import open_source
from executor.data.shape import detect_source
from executor.data.source import EmptyFileError, EmptyWorkbookError
from executor.data.verdict import Verdict, checked, inspected, prompts_of
from executor.estimate import context_of
from executor.model_cache import prepared_folder
from executor.template import ChatTemplate
from tools.base import Args, Result, Tool, UserError
from tools.base_model import resolve_model
from tools.limits import limit_problems
from tools.problems import counted, listed

if TYPE_CHECKING:
    from executor.data.length import Length


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
        return "\n\n".join([*lines, *listed(self.problems)])


class CheckArgs(Args):
    path: Path
    """the data file"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    target: Target = "local"
    """where the data shall be trained on"""
    base_model: str | None = None
    """count tokens with this model's tokenizer and name the rows its context would cut off"""
    production: Path | None = None
    """a sample of real prompts to compare the inputs with"""
    against: Path | None = None
    """another file, such as the training set of a test set: rows whose input it holds too are named"""
    quality: bool = True
    """False: only the structure, which is many times faster"""


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
        head = f"{state} for {self.target}: {self.rows} rows, {counted(self.counts)}."
        return "\n\n".join([head, *self._tokens(), *listed(self.problems)])

    def _tokens(self) -> list[str]:
        found = (self.quality or {}).get("tokens")
        if not found:
            return []
        cut = (
            f"; {found['rows_cut']} rows lose {found['tokens_cut']} tokens"
            if found["rows_cut"]
            else ", nothing is cut off"
        )
        lengths = f"median {found['median']}, 95th percentile {found['p95']}, longest {found['longest']}"
        return [
            f"Tokens as this model counts them: {found['total']:,} ({lengths}) of {found['context']:,} it reads{cut}."
        ]


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


def check_rows(args: CheckArgs) -> CheckResult:
    try:
        source = open_source(args.path, args.sheet)
    except EmptyFileError as empty:
        findings = Findings()
        findings.add([_empty_problem(empty)])
        return _checked(args.target, Verdict(0, [], findings))
    judges = quality_judges() if args.quality else []
    if args.production is not None:
        judges.append(against_production(args.production))
    if args.against is not None:
        judges.append(against_file(args.against))
    length, uncounted = token_length(args.base_model) if args.base_model else (None, [])
    verdict = checked(source, detect_source(source), args.target, judges, length)
    verdict.findings.add([*uncounted, *limit_problems(args.target, source.path, verdict.quality)])
    return _checked(args.target, verdict)


def token_length(name: str) -> tuple[Length | None, list[Problem]]:
    """What counts tokens as the model does; or, before its tokenizer is on this machine, a warning that says so."""
    folder = prepared_folder(resolve_model(name))
    if not (folder / "tokenizer.json").exists():
        message = f"tokens were not counted: the tokenizer of {name} is not on this machine yet"
        fix = "It comes with the model, the first time that it is trained or evaluated."
        return None, [warning("tokens_not_counted", message, fix)]
    from executor.data.length import Length

    context = context_of(folder)
    if context is None:
        message = f"tokens were not counted: the model folder does not say how many {name} reads"
        return None, [warning("tokens_not_counted", message, "Add max_position_embeddings to its config.json.")]
    return Length(ChatTemplate(folder).count, context), []


def against_file(path: Path) -> Judge:
    """Looks for rows whose input occurs in this file too. Raises UserError where it has no inputs."""
    from executor.data.difficulty import batches_of
    from executor.data.overlap import Overlap

    source = open_source(path)
    build = row_builder(source.path, source.columns, detect_source(source))
    return Overlap(path.name, batches_of(source, build)())


def against_production(path: Path) -> Judge:
    """Compares the inputs with those of a file of real prompts, one text a row. Raises UserError."""
    from executor.data.judge.production import Mismatch

    source = open_source(path)
    shape = detect_source(source)
    texts = prompts_of(source, shape)
    if not texts:
        raise UserError(f"{path.name} holds no prompts", str(path), 'Give JSON lines with a "prompt", or one a line.')
    return Mismatch(texts)


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
    """A sound workbook with nothing in it is well formed; an empty file has no form at all."""
    sound = isinstance(empty, EmptyWorkbookError)
    problem = _empty_problem(empty)
    return InspectResult(
        valid=sound,
        format="excel" if sound else "unknown",
        shape="unknown",
        encoding=None,
        delimiter=None,
        sheets=empty.sheets if isinstance(empty, EmptyWorkbookError) else None,
        rows=0,
        columns=[],
        suggested_map=None,
        problems=[problem.as_warning() if sound else problem],
        why="There are no rows.",
    )


LOOK_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_inspect",
        reads_only=True,
        description="Say what a data file is: format, encoding, columns, shape and a suggested column mapping. "
        "Call it first on any file the user names.",
        args=InspectArgs,
        result=InspectResult,
        run=inspect,
        command="finetune data inspect {path}",
    ),
    Tool(
        name="data_check",
        reads_only=True,
        description="Check a data file for errors and judge its quality: duplicates, conflicting answers, personal "
        "data, labels. Call it before training.",
        args=CheckArgs,
        result=CheckResult,
        run=check_rows,
        command="finetune data check {path} --for {target}",
    ),
)
