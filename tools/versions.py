"""The tools on versions of datasets: what came of what, what changed between two, and undo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data import lineage, store
from executor.data import undo as undoing
from executor.data.lineage import State
from executor.data.version import File, Version
from executor.report.escape import to_markdown
from tools.base import Args, Result, Tool

__all__ = ["VERSION_TOOLS"]

_SHOWN = 50
"""versions listed in a text answer"""
_ON_DISK: dict[State, str] = {
    "unchanged": "as it was written",
    "changed": "**changed since**",
    "gone": "**gone**",
    "replaced": "written again later",
}


class DataHistoryArgs(Args):
    path: Path | None = None
    """a file, a split folder or a version; none: all versions of the workspace"""


class VersionEntry(Result):
    """A version as the contract's JSON has it."""

    id: str
    step: str
    path: str
    sha256: str | None
    """None: the version left no file"""
    rows: int | None
    """None: not counted"""
    parents: list[str]
    parameters: dict[str, Any]
    made_on: str
    """ISO 8601, UTC"""
    log: str | None
    touched: int
    lines: list[int]
    """the first lines touched"""
    parts: dict[str, dict[str, Any]]
    """of a split: `path, rows, sha256` of each part"""
    on_disk: State


class DataHistoryResult(Result):
    versions: list[VersionEntry]
    """the newest last"""
    missing: list[str]
    """parents whose record is gone"""
    path: str | None

    def text(self) -> str:
        of = f" of {to_markdown(Path(self.path).name)}" if self.path else ""
        if not self.versions:
            return f"No versions{of} are recorded yet; format, clean and split record what they write."
        changed = [entry for entry in self.versions if entry.on_disk in ("changed", "gone")]
        head = f"{len(self.versions)} version{'' if len(self.versions) == 1 else 's'}{of}, the newest last."
        notes = [f"{to_markdown(_name(each))} {_since(each.on_disk)} since version {each.id}." for each in changed]
        notes += [f"The records of {', '.join(self.missing)} are gone."] if self.missing else []
        left_out = len(self.versions) - _SHOWN
        notes += [f"The newest {_SHOWN} are shown."] if left_out > 0 else []
        return "\n\n".join([" ".join([head, *notes]), _table(self.versions[-_SHOWN:])])


class DataDiffArgs(Args):
    a: str
    """a version, the beginning of its name, or a file"""
    b: str
    """a version, the beginning of its name, or a file"""
    examples: int = Field(default=5, ge=0, le=100)
    """most examples of each kind of change"""


class DataDiffResult(Result):
    diff: dict[str, Any]
    """`a, b, same, added, removed, changed, changed_by_place, reordered, labels, lengths, examples`"""

    def text(self) -> str:
        from executor.data.difference import Difference, render

        return render(Difference.model_validate(self.diff))


class DataUndoArgs(Args):
    version: str
    """the version to undo, the beginning of its name, or the file it wrote last"""
    overwrite: bool = False
    """replace a file that was changed by hand since; it is kept as a version first"""


class DataUndoResult(Result):
    version: VersionEntry
    """the new version that holds what was before"""
    undone: str

    def text(self) -> str:
        new = self.version
        if new.parts:
            what = f"The files of {to_markdown(_name(new))} are as they were"
        elif new.sha256 is None:
            what = f"{to_markdown(_name(new))} did not exist before and was taken away; its content is kept"
        else:
            what = f"{to_markdown(_name(new))} is as it was"
        return f"{what} before version {self.undone}. To take this back: `finetune data undo {new.id}`."


def history(args: DataHistoryArgs) -> DataHistoryResult:
    path = args.path.expanduser() if args.path else None
    versions = lineage.history(path)
    return DataHistoryResult(
        versions=_entries(versions),
        missing=lineage.missing_parents(versions),
        path=str(path.absolute()) if path else None,
    )


def diff(args: DataDiffArgs) -> DataDiffResult:
    # numpy is loaded only when rows are compared
    from executor.data.difference import difference

    return DataDiffResult(diff=difference(args.a, args.b, args.examples).model_dump(mode="json"))


def undo(args: DataUndoArgs) -> DataUndoResult:
    version = store.lookup(args.version)
    made = undoing.undo(version, args.overwrite)
    return DataUndoResult(version=_entries([made])[0], undone=version.id)


def _entries(versions: Sequence[Version]) -> list[VersionEntry]:
    states = lineage.states(versions)
    return [_entry(version, states[version.id]) for version in versions]


def _entry(version: Version, state: State) -> VersionEntry:
    plain = version.model_dump(mode="json", exclude={"files"})
    return VersionEntry(**plain, parts={name: _part(file) for name, file in version.parts.items()}, on_disk=state)


def _part(file: File) -> dict[str, Any]:
    return {"path": file.path, "rows": file.rows, "sha256": file.sha256}


def _name(entry: VersionEntry) -> str:
    return Path(entry.path).name


def _since(state: State) -> str:
    return "is gone" if state == "gone" else "was changed"


def _table(entries: Sequence[VersionEntry]) -> str:
    lines = ["| version | step | file | rows | made from | made on (UTC) | on disk |", "|---|---|---|---:|---|---|---|"]
    for each in entries:
        rows = "?" if each.rows is None else f"{each.rows:,}"
        name, made_from = to_markdown(_name(each)), ", ".join(each.parents) or "–"
        made_on = each.made_on[:19].replace("T", " ")
        state = _ON_DISK[each.on_disk]
        lines.append(f"| {each.id} | {each.step} | {name} | {rows} | {made_from} | {made_on} | {state} |")
    return "\n".join(lines)


VERSION_TOOLS: tuple[Tool[Any, Any], ...] = (
    Tool(
        name="data_history",
        reads_only=True,
        description="List the versions of a data file or of all: what was made from what, with which step and "
        "parameters, and whether the file was changed since.",
        args=DataHistoryArgs,
        result=DataHistoryResult,
        run=history,
        command="finetune data history {path}",
    ),
    Tool(
        name="data_diff",
        reads_only=True,
        description="Compare two versions or data files: rows added, removed, changed and moved, with examples, and "
        "how labels and lengths changed.",
        args=DataDiffArgs,
        result=DataDiffResult,
        run=diff,
        command="finetune data diff {a} {b}",
    ),
    Tool(
        name="data_undo",
        description="Write back what a file held before a version. Nothing is lost: the undo is a version too and can "
        "be undone.",
        args=DataUndoArgs,
        result=DataUndoResult,
        run=undo,
        asks_first=True,
        command="finetune data undo {version} --yes {overwrite}",
    ),
)
