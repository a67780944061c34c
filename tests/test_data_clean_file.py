"""`data clean` on files: chosen fixes, everything logged, the row equation, all or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.data.clean_file import CleanedFile, clean_file
from executor.data.convert import row_builder
from executor.data.read import open_source
from executor.data.repairs import FIXABLE, REPAIRS
from executor.data.shape import detect_source
from executor.errors import UserError

Row = dict[str, Any]


def chat(user: str, assistant: str, **more: Any) -> Row:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant, **more}]}


def cleaned(path: Path, *fixes: str, redact: bool = False) -> tuple[CleanedFile, list[Row], list[Row]]:
    source = open_source(path)
    build = row_builder(source.path, source.columns, detect_source(source))
    out, log = path.with_name("out.jsonl"), path.with_name("log.jsonl")
    done = clean_file(source, build, out, log, fixes, redact)
    return done, *(
        [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line] for file in (out, log)
    )


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_loses_nothing_is_repaired_without_being_asked(tmp_path: Path) -> None:
    turns = chat("hi there", "ho")["messages"]
    rows = [
        chat("caf\u00c3\u00a9 near me?", "Yes, two of them."),
        {"messages": [*turns, {"role": "user", "content": "left over"}]},
        {"messages": [turns[0], {"role": "system", "content": "S"}, turns[1]]},
        chat("bell\x07 rings", "Good."),
        chat("same", "answer"),
        chat("same", "answer"),
    ]
    done, out, log = cleaned(jsonl(tmp_path / "a.jsonl", rows))
    assert (done.in_rows, done.out_rows, done.removed, done.changed) == (6, 5, 1, 4)
    assert out[0]["messages"][0]["content"] == "café near me?"
    assert out[1]["messages"] == turns
    assert out[2]["messages"][0]["role"] == "system"
    assert out[3]["messages"][0]["content"] == "bell rings"
    assert [(entry["line"], entry["action"]) for entry in log] == [
        (1, "changed"), (2, "changed"), (3, "changed"), (4, "changed"), (6, "removed"),
    ]  # fmt: skip


def test_redaction_reaches_calls_and_never_the_log(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "mail", "arguments": '{"to": "jo.roe@example.org"}'}}
    rows = [
        chat("Write to jo.roe@example.org, not to ann@example.org", "Done: jo.roe@example.org"),
        {
            "messages": [
                {"role": "user", "content": "mail him"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ]
        },
    ]
    _, out, log = cleaned(jsonl(tmp_path / "a.jsonl", rows), redact=True)
    texts = [turn["content"] for turn in out[0]["messages"]]
    assert texts == ["Write to [EMAIL], not to [EMAIL_2]", "Done: [EMAIL]"]
    assert json.loads(out[1]["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"to": "[EMAIL]"}
    assert "example" not in json.dumps(log)


def test_rows_of_one_line_are_cleaned_one_by_one(tmp_path: Path) -> None:
    rows = [chat("a question", "x"), chat("another thing", "y"), chat("a question", "x")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    done, out, log = cleaned(tmp_path / "a.json", "exact_duplicate")
    assert (done.removed, out) == (1, rows[:2])
    assert [entry["line"] for entry in log] == [3]


def test_unknown_fixes_and_empty_results_write_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [chat("{{name}}", "x")])
    with pytest.raises(UserError, match="no fix"):
        cleaned(path, "placeholdr")
    with pytest.raises(UserError, match="No row would be left"):
        cleaned(path, "placeholder")
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = texts | st.none() | st.integers()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    rows=st.lists(st.fixed_dictionaries({"prompt": values, "completion": values}), min_size=1, max_size=6),
    fixes=st.lists(st.sampled_from(FIXABLE), max_size=4),
    redact=st.booleans(),
)
def test_the_row_equation_holds(tmp_path: Path, rows: list[Row], fixes: list[str], redact: bool) -> None:
    path = jsonl(tmp_path / "a.jsonl", rows)
    try:
        done, out, log = cleaned(path, *fixes, redact=redact)
    except UserError:
        return
    assert done.in_rows == len(rows) == done.out_rows + done.removed
    assert len(out) == done.out_rows
    assert sum(entry["action"] == "removed" for entry in log) == done.removed
    assert sum(entry["action"] == "changed" for entry in log) == done.changed


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=4))
def test_a_repair_of_a_repaired_row_changes_nothing(turns: list[tuple[str, str]]) -> None:
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    for code in ("control_characters", "ends_without_reply", "system_not_first", "double_encoded_arguments"):
        once = REPAIRS[code](row)
        assert REPAIRS[code](once) == once


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
from agent.cli import main
sys.argv = ["finetune", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("command", ["clean", "format", "split"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, command: str) -> None:
    """The largest file that may be written stands for the disk: the input is longer than that."""
    path = jsonl(tmp_path / "a.jsonl", [chat(f"question number {i} about things", f"answer {i}.") for i in range(400)])
    env = {**os.environ, "FINETUNE_HOME": str(tmp_path / "home")}
    words = ["data", command, str(path), "-o", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *words], capture_output=True, text=True, env=env, check=False
    )
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stderr
    assert "File too large" in run.stderr
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {"a.jsonl"}
