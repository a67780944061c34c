"""The tools for a review by a person: rows to read, and what was decided about them carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data import store
from executor.data.convert import row_builder
from executor.data.problem import Problem
from executor.data.read import open_source
from executor.data.review import Decision, FaultRate, Item, Kind, Review, apply_file, faults
from executor.data.shape import detect_source
from tools.base import Args, Result, Tool
from tools.data_write import keep_what_is_there, refuse_overwriting

__all__ = ["SAMPLE_TOOLS", "Decision", "FaultRate", "Item", "Kind", "Problem", "Review", "faults"]


class SampleArgs(Args):
    path: Path
    """the data file"""
    out: Path
    """where to write the rows to read, as JSON lines"""
    n: int = Field(default=50, ge=1)
    """how many rows"""
    seed: int = Field(default=0, ge=0)
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    overwrite: bool = False
    """replace an existing output"""


class SampleResult(Result):
    rows: int
    out: str
    with_findings: int
    control: int
    """drawn at random from the rows without a finding"""
    codes: dict[str, int]
    """how many of the drawn rows have a problem of each code"""
    seed: int

    def text(self) -> str:
        head = f"Drew {self.rows} rows into {self.out}: {self.with_findings} with findings, the worst first"
        kinds = f" ({', '.join(f'{n} {code}' for code, n in self.codes.items())})" if self.codes else ""
        control = f"{self.control} at random from the rows without any, to estimate what the checks miss"
        return f"{head}{kinds}, {control}.\n\nRead and decide: `finetune data review {self.out}`."


class ReviewApplyArgs(Args):
    path: Path
    """the data file that the sample was drawn from"""
    sample: Path
    """the sample, with the decisions in it or made in the review"""
    out: Path
    """where to write all rows as decided, as JSON lines of chat messages"""
    sheet: str | None = None
    """of a workbook; None: the first with rows"""
    overwrite: bool = False
    """replace an existing output"""


class ReviewApplyResult(Result):
    in_rows: int
    out_rows: int
    removed: int
    """dropped by the reader, or not to be trained on"""
    changed: int
    undecided: int
    """rows of the sample without a decision; they stay as they are"""
    log: str
    """JSON lines: each row touched, what was done and by which decision"""
    out: str
    sha256: str
    unflagged: dict[str, Any]
    """rows without a finding: `faults` of `seen` read, `low` and `high` of the share (Wilson, 95 %); null: none read"""
    unreadable: int
    """lines of decisions that could not be read and were left out"""

    def text(self) -> str:
        head = f"Wrote {self.out_rows} of {self.in_rows} rows to {self.out}: {self.removed} removed"
        lines = [f"{head}, {self.changed} changed. Every row touched is in {self.log}."]
        lines.append(FaultRate(self.unflagged["faults"], self.unflagged["seen"], self.unflagged["drawn"]).text())
        lines += [f"{self.undecided} rows of the sample are undecided and stay."] if self.undecided else []
        lines += [f"Lines of decisions that could not be read: {self.unreadable}."] if self.unreadable else []
        return "\n\n".join(lines)


def sample_rows(args: SampleArgs) -> SampleResult:
    from executor.data import sample  # numpy takes a tenth of a second

    refuse_overwriting(args.path, [args.out], args.overwrite)
    source = open_source(args.path, args.sheet)
    shape = detect_source(source)
    build = row_builder(source.path, source.columns, shape)
    drawn = sample.draw_file(source, build, args.n, args.seed, plain=shape.name == "messages")
    sample.write(args.out, drawn)
    codes = [code for each in drawn for code in {problem.code for problem in each.problems}]
    return SampleResult(
        rows=len(drawn),
        out=str(args.out.absolute()),
        with_findings=sum(bool(each.problems) for each in drawn),
        control=sum(each.control for each in drawn),
        codes={code: codes.count(code) for code in sorted(set(codes))},
        seed=args.seed,
    )


def apply_review(args: ReviewApplyArgs) -> ReviewApplyResult:
    review = Review(args.sample)
    log = args.out.with_name(f"{args.out.name}.log.jsonl")
    for read in (args.path, args.sample, review.journal):
        refuse_overwriting(read, [args.out, log], args.overwrite)
    source = open_source(args.path, args.sheet)
    build = row_builder(source.path, source.columns, detect_source(source))
    keep_what_is_there([args.out])
    done = apply_file(source, build, review.decisions(), args.out, log)
    given = {"sample": args.sample.name, "decided": dict(review.counts())}
    store.record(args.out, "review", given, [store.ensure_source(source.path)], done.out_rows, log=log)
    rate = review.fault_rate()
    low, high = rate.interval() if rate.seen else (None, None)
    return ReviewApplyResult(
        in_rows=done.in_rows,
        out_rows=done.out_rows,
        removed=done.removed,
        changed=done.changed,
        undecided=review.counts()["undecided"],
        log=str(log.absolute()),
        out=str(args.out.absolute()),
        sha256=done.sha256,
        unflagged={**rate._asdict(), "low": low, "high": high},
        unreadable=review.unreadable,
    )


SAMPLE_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_sample",
        description="Draw rows of a data file for a person to read, worst first, with a few random rows without a "
        "finding. Call it when somebody should look at the data before training.",
        args=SampleArgs,
        result=SampleResult,
        run=sample_rows,
        command="finetune data sample {path} -n {n} -o {out} --seed {seed} --sheet {sheet} --yes {overwrite}",
    ),
    Tool(
        name="data_review_apply",
        description="Carry out what a person decided about a drawn sample on the whole file: drop and replace rows, "
        "with a log, and estimate how many rows without a finding have a fault.",
        args=ReviewApplyArgs,
        result=ReviewApplyResult,
        run=apply_review,
        command="finetune data review {sample} --apply {path} -o {out} --sheet {sheet} --yes {overwrite}",
    ),
)
