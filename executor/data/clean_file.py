"""A file cleaned: chosen fixes, personal data replaced, every row that was touched in a log."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data.convert import Builder, Built, built_row
from executor.data.problem import Problem, has_error
from executor.data.quality import Judge, quality_judges
from executor.data.repairs import DROPPED, FIXABLE, REPAIRS, SAFE, texts_changed
from executor.data.rows import answer, with_answer
from executor.data.source import Source
from executor.data.structure import row_problems
from executor.data.survey import survey
from executor.errors import UserError, nearest
from executor.files import replacing_all, sha256_file

Row = dict[str, Any]


@dataclass(frozen=True)
class CleanedFile:
    """The row equation holds: in_rows = out_rows + removed."""

    in_rows: int
    out_rows: int
    removed: int
    changed: int
    sha256: str
    fixes: tuple[str, ...]


class Lines:
    """The lines of each code, a number each."""

    def __init__(self) -> None:
        self.of: dict[str, array[int]] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            if problem.line is not None:
                self.of.setdefault(problem.code, array("q")).append(problem.line)


def clean_file(
    source: Source, build: Builder, out: Path, log: Path, fixes: Sequence[str] = (), redact: bool = False
) -> CleanedFile:
    """Write the chat rows of `source` with the chosen fixes made (none named: those of SAFE).

    Rows that cannot be trained on are removed. `log` gets a JSON line for each row touched: its line, what was done
    and why, never the text. Both files are written or none. Raises UserError for an unknown fix, or where no row
    would be left.
    """
    chosen = _chosen(fixes)
    judges = quality_judges()
    lines = Lines()
    survey(source, build, judges=judges, sink=lines)
    work = _Cleaning(lines, chosen, _better(judges), redact)
    counts = {"in": 0, "out": 0, "changed": 0}
    with replacing_all([log, out]) as (log_file, out_file):
        with open(out_file, "w", encoding="utf-8") as rows, open(log_file, "w", encoding="utf-8") as touched:
            for record in source.records():
                if record.row is None:
                    continue
                counts["in"] += 1
                built = built_row(record, build)
                row, codes = work.cleaned(built)
                if row is not None:
                    counts["out"] += 1
                    rows.write(json.dumps(row, ensure_ascii=False) + "\n")
                if codes:
                    counts["changed"] += row is not None
                    action = "removed" if row is None else "changed"
                    touched.write(json.dumps({"line": record.line, "action": action, "codes": codes}) + "\n")
        if not counts["out"]:
            raise UserError("No row would be left; nothing was written", str(source.path), "Choose fewer fixes.")
    return CleanedFile(
        counts["in"], counts["out"], counts["in"] - counts["out"], counts["changed"], sha256_file(out), chosen
    )


def _chosen(fixes: Sequence[str]) -> tuple[str, ...]:
    for code in fixes:
        if code not in FIXABLE:
            hint = nearest(code, FIXABLE) or f"Fixes: {', '.join(FIXABLE)}."
            raise UserError(f'There is no fix for "{code}"', "--fix", hint)
    return tuple(dict.fromkeys(fixes)) or SAFE


def _better(judges: Sequence[Judge]) -> dict[str, str]:
    from executor.data.judge.label_names import LabelNames

    return next((judge.better for judge in judges if isinstance(judge, LabelNames)), {})


class _Cleaning:
    def __init__(self, lines: Lines, fixes: Sequence[str], better: dict[str, str], redact: bool) -> None:
        self.drop: dict[int, list[str]] = {}
        self.repair: dict[int, list[str]] = {}
        for code in fixes:
            place = self.drop if code in DROPPED else self.repair
            for line in lines.of.get(code, ()):
                place.setdefault(line, []).append(code)
        self.better = better if "label_variant" in fixes else {}
        self.redact = redact

    def cleaned(self, built: Built) -> tuple[Row | None, list[str]]:
        """The row as it shall be (None: removed), and the codes of what was done."""
        row, line = built.row, built.line
        if row is None:
            return None, [built.problems[0].code]
        if line in self.drop:
            return None, self.drop[line]
        done = []
        for code in self.repair.get(line, []):
            better = self._respelled(row) if code == "label_variant" else REPAIRS[code](row)
            if better != row:
                row = better
                done.append(code)
        if self.redact:
            row, kinds = self._redacted(row)
            done += kinds
        problems = row_problems(row, line) if done else []
        return (None, [*done, problems[0].code]) if has_error(problems) else (row, done)

    def _respelled(self, row: Row) -> Row:
        better = self.better.get(answer(row))
        return with_answer(row, better) if better is not None else row

    def _redacted(self, row: Row) -> tuple[Row, list[str]]:
        """The same value has the same stand-in throughout a row."""
        from executor.data.sensitive import StandIns, redact

        kinds: dict[str, None] = {}
        stand_ins = StandIns()

        def change(text: str) -> str:
            better, found = redact(text, stand_ins)
            kinds.update(dict.fromkeys(found))
            return better

        return texts_changed(row, change), list(kinds)
