"""One pass over a file: every row against its shape and the target, and the quality of the rows to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from executor.data import structure_pass
from executor.data.batch import SIZE, Batch
from executor.data.convert import Builder, built_row
from executor.data.json_rows import line_record
from executor.data.problem import Findings, Problem, has_error
from executor.data.quality import Judge
from executor.data.read import open_bytes
from executor.data.source import Record, Source
from executor.data.structure import row_problems
from executor.data.task import Tally

Row = dict[str, Any]


class Sink(Protocol):
    """Takes problems as they are found."""

    def add(self, problems: Iterable[Problem]) -> None: ...


RowRule = Callable[[Row, int], list[Problem]]


@dataclass
class Survey:
    """What a pass found."""

    findings: Findings = field(default_factory=Findings)
    rows: int = 0
    """all rows of the file"""
    trainable: int = 0
    """those that became chat rows without an error"""
    readable: int = 0
    """those that could be read as rows"""
    first_line: int | None = None
    columns: dict[str, None] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    longest_input: int = 0


def survey(
    source: Source,
    build: Builder | None,
    rule: RowRule | None = None,
    judges: Sequence[Judge] = (),
    plain: bool = False,
    sink: Sink | None = None,
) -> Survey:
    """Read the whole file once.

    `build` makes chat rows; `rule` adds the target's faults of a chat row
    (without `build`: of the row as it stands); `judges` see the sound rows. `plain`: the rows are chat messages as they
    stand, so that the fast structure pass may be used. `sink` gets the
    problems in place of the survey's findings. Raises UserError where the file changes meanwhile.
    """
    found = Survey(columns=dict.fromkeys(source.columns))
    work = _Pass(found, build, rule, judges, sink or found.findings)
    work.sink.add(source.problems)
    with structure_pass.without_collector():
        if plain and source.format == "jsonl" and source.encoding in ("utf-8", "utf-8-sig", "ascii"):
            source.unchanged()
            for block in structure_pass.blocks(lambda: open_bytes(source.path), work.accepts):
                work.block(block)
            source.unchanged()
        else:
            for record in source.records():
                work.record(record)
        work.close()
    return found


class _Pass:
    def __init__(
        self,
        found: Survey,
        build: Builder | None,
        rule: RowRule | None,
        judges: Sequence[Judge],
        sink: Sink,
    ) -> None:
        self.sink = sink
        self.found, self.build, self.rule, self.judges = found, build, rule, judges
        self.batch = Batch()

    def accepts(self, roles: tuple[str, ...]) -> bool:
        """Whether texts under these roles are without fault: asked of the rules themselves, once for each sequence."""
        row: Row = {"messages": [{"role": role, "content": "x"} for role in roles]}
        return not row_problems(row, 1) and not (self.rule and self.rule(row, 1))

    def block(self, block: structure_pass.Block) -> None:
        if block.rows is None:
            for record in block_records(block):
                self.record(record)
            return
        self.found.rows += len(block.rows)
        self.found.readable += len(block.rows)
        self.found.trainable += len(block.rows)
        if not self.judges:
            return
        self.batch.add_plain(block.rows, block.numbers())
        if len(self.batch) >= SIZE:
            self.flush()

    def record(self, record: Record) -> None:
        found = self.found
        if record.row is None:
            self.sink.add([record.problem] if record.problem else [])
            return
        found.rows += 1
        found.first_line = found.first_line or record.line
        found.columns.update(dict.fromkeys(map(str, record.row)))
        found.readable += record.problem is None
        if self.build is None:
            own = self.rule(record.row, record.line) if self.rule and not record.problem else []
            self.sink.add([record.problem] if record.problem else own)
            return
        built = built_row(record, self.build)
        rules = self.rule(built.row, built.line) if built.row is not None and self.rule else []
        problems = [*built.problems, *rules]
        self.sink.add(problems)
        if built.row is None or has_error(problems):
            return
        found.trainable += 1
        if self.judges:
            self.batch.add(built.row, built.line)
            if len(self.batch) >= SIZE:
                self.flush()

    def flush(self) -> None:
        batch, self.batch = self.batch, Batch()
        if not len(batch):
            return
        self.found.tally.add(batch.answers)
        self.found.longest_input = max(self.found.longest_input, *map(len, batch.asked), 0)
        for judge in self.judges:
            self.sink.add(judge.add(batch))

    def close(self) -> None:
        self.flush()
        for judge in self.judges:
            self.sink.add(judge.finish())


def block_records(block: structure_pass.Block) -> Iterator[Record]:
    """The rows of a block that is not plain, one by one, the slow way."""
    text = block.data.decode("utf-8")
    for number, line in structure_pass.numbered(text, block.first_line):
        yield line_record(line, number)
