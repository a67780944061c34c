"""The whole way of the data of `finetune go`: read, clean, convert, check, split, and a record of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data import labels
from executor.data.check import OPENAI_LEAST, check
from executor.data.clean import Cleaned, Step, clean, ending_with_reply, respell, without_overlap
from executor.data.convert import Converted, converted, to_messages
from executor.data.planted import refuse_planted, shared_lines
from executor.data.preference import pair_of
from executor.data.problem import Problem, counts, in_file_order, warning
from executor.data.read import RawTable, read
from executor.data.rows import answer, sources_of, with_system
from executor.data.shape import Shape, detect
from executor.data.split import Split, split
from executor.data.task import Task, describe, system_prompt
from executor.errors import UserError, nearest
from executor.files import sha256_file, sha256_rows

Row = dict[str, Any]
LEAST_ROWS = 20
"""usable rows; fewer leave no test set worth the name"""
_ADVISABLE = "50 to 100 or more"
"""examples with which OpenAI's guide sees clear improvements"""
_PROMPTED = ("table", "prompt_completion")
"""shapes whose rows do not say what the task is"""
_CHATS = ("messages", "sharegpt")


@dataclass(frozen=True)
class Prepared:
    """Chat rows, ready to train and to test on; the last message of each is the assistant's."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    task: Task
    shape: str
    problems: list[Problem]
    lineage: list[dict[str, Any]]
    """`step, rows_in, rows_out, lines` of each step, in order"""
    source: dict[str, Any]
    test_source: dict[str, Any] | None

    @property
    def pairs(self) -> bool:
        """Whether each row has a rejected reply beside the chosen one."""
        return self.shape == "preference" and all("rejected" in row for row in self.train)

    @property
    def version(self) -> str:
        """Content hash over all rows."""
        return sha256_rows([*self.train, *self.validation, *self.test])

    def record(self) -> dict[str, Any]:
        """What `data.json` of a run folder holds."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "version": self.version,
            "splits": {name: {"rows": len(rows), "sha256": sha256_rows(rows)} for name, rows in parts.items()},
            "source": self.source,
            "test_source": self.test_source,
            "task": self.task.model_dump(mode="json"),
            "lineage": self.lineage,
            "counts": counts(self.problems),
        }


@dataclass(frozen=True)
class _Loaded:
    """One file, read and converted."""

    table: RawTable
    shape: Shape
    converted: Converted

    def source(self) -> dict[str, Any]:
        return {
            "path": str(self.table.path.absolute()),
            "sha256": sha256_file(self.table.path),
            "format": self.table.format,
            "encoding": self.table.encoding,
            "delimiter": self.table.delimiter,
            "shape": self.shape.name,
        }

    def problems(self) -> list[Problem]:
        return [*self.table.problems, *self.converted.problems]

    def step(self, name: str) -> Step:
        kept = set(self.converted.indexes)
        lost = [line for index, line in enumerate(self.table.lines) if index not in kept]
        return Step(name, len(self.table.rows), len(self.converted.rows), lost)


def prepare(
    path: Path,
    *,
    test: Path | None = None,
    task: str | None = None,
    mapping: dict[str, str] | None = None,
    seed: int = 0,
    ratios: Sequence[float] = (0.7, 0.1, 0.2),
    columns: Sequence[str] = (),
    group_by: str | None = None,
    drop_overlap: bool = False,
) -> Prepared:
    """Chat rows for train, validation and test.

    `columns` are kept in each row's `columns`; rows of one value of the column `group_by` stay on one side.

    With `test` its rows are the test set, `path` is split into train and validation only, and rows of `path` that
    also occur, or nearly, in the test file are left out. Raises UserError where the data cannot carry a tuning, and
    where many test rows stand in `path` to the letter, unless `drop_overlap` says that leaving them out is enough.
    """
    kept = list(dict.fromkeys([*columns, *([group_by] if group_by else [])]))
    data = _load(path, mapping, kept=kept)
    cleaned = clean(data.converted.rows, data.converted.lines)
    _refuse_few(data, cleaned)
    steps = [data.step("convert"), *cleaned.steps]
    tested: list[Row] = []
    other: _Loaded | None = None
    if test is not None:
        other = _load(test, mapping, data.shape.mapping, kept)
        tested, respelled = _test_rows(other, cleaned.rows)
        if not drop_overlap:
            lines = shared_lines(cleaned.rows, cleaned.lines, tested)
            refuse_planted(lines, len(tested), f"{path.name} ask what the test asks", test, "train without them")
        before = len(cleaned.steps)
        cleaned = without_overlap(cleaned, tested)
        steps += [other.step("convert_test"), respelled, *cleaned.steps[before:]]
        _refuse_few(data, cleaned)
    described = _task(cleaned.rows, tested, path)
    prompt = _prompt(data, described, task, mapping)
    rows, tested = ([with_system(row, prompt) for row in part] for part in (cleaned.rows, tested))
    found = [*data.problems(), *check(rows, cleaned.lines)]
    groups = sources_of(rows, group_by)
    parted = split(rows, _ratios(ratios, test is not None), seed, groups)
    steps.append(Step("split", len(rows), len(parted.train) + len(parted.validation) + len(parted.test)))
    _refuse_empty_parts(parted, data, test is not None)
    return Prepared(
        train=parted.train,
        validation=parted.validation,
        test=tested if test is not None else parted.test,
        task=described,
        shape=data.shape.name,
        problems=[
            *in_file_order(found),
            *(_test_problems(other, cleaned.rows, tested, described) if other else []),
            *(_shared_sources(rows, tested, group_by) if group_by else []),
        ],
        lineage=[step.record() for step in steps],
        source=data.source(),
        test_source=other.source() if other else None,
    )


def rows_to_test(
    path: Path,
    trained: Sequence[Row],
    mapping: dict[str, str] | None,
    columns: Sequence[str] = (),
    drop_overlap: bool = False,
) -> tuple[list[Row], list[int]]:
    """The rows of a test file as `prepare` makes them, and the lines of those that `trained` asks as well.

    They are under the training rows' system message and label spelling; `mapping` is that of the training file. With
    `drop_overlap` the rows that `trained` asks too, or nearly, are left out. Raises UserError where no row with a
    question and its answer is left.
    """
    loaded = _load(path, None, mapping, columns)
    rows, _ = _test_rows(loaded, trained)
    tested = Cleaned(rows, loaded.converted.lines, [])
    if drop_overlap:
        tested = without_overlap(tested, trained)
        if not tested.rows:
            raise UserError(f"Every row of {path.name} was trained on", str(path), "Give rows that were not.")
    lead = next((turn["content"] for turn in trained[0]["messages"] if turn["role"] == "system"), "")
    lines = shared_lines(tested.rows, tested.lines, trained)
    return [with_system(row, lead) for row in tested.rows], lines


def alone(path: Path, mapping: dict[str, str] | None = None) -> tuple[list[Row], Task, dict[str, Any]]:
    """(rows, task, source) of a file that is a test by itself, under the system message that its answers suggest.

    Raises UserError where it holds no row with a question and its answer.
    """
    loaded = _load(path, mapping)
    rows, _ = ending_with_reply(loaded.converted.rows)
    if not rows:
        raise UserError(f"{path.name} has no usable test row", str(path), _first_fault(loaded))
    task = describe(rows)
    prompt = _prompt(loaded, task, None, mapping)
    return [with_system(row, prompt) for row in rows], task, loaded.source()


def _load(
    path: Path,
    mapping: dict[str, str] | None,
    inherited: dict[str, str] | None = None,
    kept: Sequence[str] = (),
) -> _Loaded:
    """`mapping` is the user's; `kept` are columns to keep.

    `inherited` is another file's mapping: it fits flat rows, and others but chats where they have all of its columns.
    """
    table = read(path)
    shape = detect(table)
    if table.format == "csv" and len(table.columns) == 1:
        raise UserError(
            f'{path.name} has only one column, "{table.columns[0]}"',
            str(path),
            "Add a column with the answer for each row.",
        )
    flat = shape.name in (*_PROMPTED, "unknown", "text")
    same = shape.name not in _CHATS and set((inherited or {}).values()) <= set(table.columns)
    own = mapping or (inherited if flat or same else None)
    made = converted(table, pair_of) if shape.name == "preference" and not own else to_messages(table, shape, own)
    _keep(table, made, kept)
    return _Loaded(table, shape, made)


def _keep(table: RawTable, made: Converted, columns: Sequence[str]) -> None:
    """Put the values of these columns into the rows' `columns`. Raises UserError for one that no row has."""
    kept = [_columns(raw) for raw in table.rows] if columns else []
    for column in columns:
        if not any(column in raw for raw in kept):
            fix = nearest(column, table.columns) or f"Its columns are {', '.join(table.columns[:12])}."
            raise UserError(f'{table.path.name} has no column "{column}"', str(table.path), fix)
    for row, index in zip(made.rows if columns else [], made.indexes, strict=False):
        row["columns"] = {column: kept[index].get(column) for column in columns}


def _columns(raw: Row) -> Row:
    """A row's columns; those that a run kept beside its messages count as well."""
    within = raw.get("columns")
    return {**within, **raw} if isinstance(within, dict) else raw


def _refuse_few(data: _Loaded, cleaned: Cleaned) -> None:
    usable, total = len(cleaned.rows), len(data.table.rows)
    if usable >= LEAST_ROWS:
        return
    lost = [f"{step.name} dropped {len(step.lines)}" for step in cleaned.steps if step.rows_out < step.rows_in]
    why = f" ({', '.join(lost)})" if lost else ""
    raise UserError(
        f"{usable} of {total} rows {'is' if usable == 1 else 'are'} usable{why}; a split needs at least {LEAST_ROWS}",
        str(data.table.path),
        f"Add rows: {_ADVISABLE} are advisable (OpenAI requires at least {OPENAI_LEAST}). {_first_fault(data)}".strip(),
    )


def _first_fault(data: _Loaded) -> str:
    rejected = data.converted.rejected
    return f"The first row left out is line {rejected[0].line}: {rejected[0].message}." if rejected else ""


def _test_rows(test: _Loaded, trained: Sequence[Row]) -> tuple[list[Row], Step]:
    """The test rows with the data's spelling of each label; none is ever dropped for its content."""
    rows, _ = ending_with_reply(test.converted.rows)
    if not rows:
        raise UserError(
            f"{test.table.path.name} has no usable test row",
            str(test.table.path),
            _first_fault(test),
        )
    better: dict[str, str] = {}
    if describe(trained).kind == "label":
        known = {labels.key(answer(row)): answer(row) for row in trained}
        better = {answer(row): known.get(labels.key(answer(row)), answer(row)) for row in rows}
    rows, changed = respell(rows, better)
    return rows, Step("test_label_spelling", len(rows), len(rows), [test.converted.lines[place] for place in changed])


def _task(rows: Sequence[Row], tested: Sequence[Row], path: Path) -> Task:
    described = describe(rows)
    if described.kind == "label" and len(described.labels) == 1:
        raise UserError(
            f'Every row has the same answer, "{described.labels[0]}"',
            str(path),
            "Add rows with other answers: there is nothing to tell apart.",
        )
    longest = max(len(answer(row)) for row in [*rows, *tested])
    every = {*described.labels, *map(answer, tested)} if described.kind == "label" else set()
    return described.model_copy(update={"labels": tuple(sorted(every)), "longest_answer": longest})


def _prompt(data: _Loaded, described: Task, task: str | None, mapping: dict[str, str] | None) -> str:
    """The system message of rows without one. Chat and Alpaca rows carry their task, so only the user's words lead."""
    if data.shape.name not in _PROMPTED and not mapping:
        return (task or "").strip()
    return system_prompt(described, {**data.shape.mapping, **(mapping or {})}.get("user"), task)


def _ratios(ratios: Sequence[float], tested_elsewhere: bool) -> tuple[float, ...]:
    if not tested_elsewhere or len(ratios) != 3:
        return tuple(ratios)
    kept = ratios[0] + ratios[1]
    return (ratios[0] / kept, ratios[1] / kept, 0.0) if kept > 0 else tuple(ratios)


def _refuse_empty_parts(parted: Split, data: _Loaded, tested_elsewhere: bool) -> None:
    if not parted.train or (not parted.test and not tested_elsewhere):
        raise UserError(
            "The rows are too much alike to be split: nearly all are near-duplicates of each other",
            str(data.table.path),
            "Add rows that differ, or give the test rows in a file of their own with --test.",
        )


def _shared_sources(rows: Sequence[Row], tested: Sequence[Row], column: str) -> list[Problem]:
    """Sources of the test file that rows to learn come from, too: the score then speaks of known sources."""
    known, there = (set(sources_of(part, column) or ()) for part in (rows, tested))
    both = {each for each in known & there if each.startswith("= ")}
    if not both:
        return []
    message = f"{len(both)} of the {len(there)} sources of the test rows ({column}) have rows to learn from as well"
    fix = "Keep each source on one side, or read the score as that of known sources."
    return [warning("source_on_both_sides", message, fix, None, column)]


def _test_problems(test: _Loaded, rows: Sequence[Row], tested: Sequence[Row], described: Task) -> list[Problem]:
    name = test.table.path.name
    found = [problem.model_copy(update={"message": f"{name}: {problem.message}"}) for problem in test.problems()]
    if described.kind != "label":
        return found
    known = {answer(row) for row in rows}
    first = {answer(row): line for row, line in reversed(list(zip(tested, test.converted.lines, strict=True)))}
    fix = "Add rows with this answer to the data, or remove it from the test."
    for label in sorted(first.keys() - known):
        message = f'{name}: the answer "{label[:60]}" occurs only in the test, so it cannot be learned'
        found.append(warning("label_only_in_test", message, fix, first[label], "assistant"))
    return found
