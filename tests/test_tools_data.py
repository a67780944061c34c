"""The data tools: the contract's keys, exit codes, outputs that are not overwritten."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.base import FinetuneError, Tool, UserError
from tools.data import LOOK_TOOLS
from tools.data_write import WRITE_TOOLS

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared" / "data"
TOOLS: dict[str, Tool[Any, Any]] = {tool.name: tool for tool in (*LOOK_TOOLS, *WRITE_TOOLS)}
KEYS = {
    "data_inspect": "valid format shape encoding delimiter sheets rows columns suggested_map problems",
    "data_format": "in_rows out_rows rejected_rows rejected out sha256",
    "data_check": "valid target rows problems counts quality",
    "data_clean": "in_rows out_rows removed changed log out sha256",
    "data_split": "train validation test clusters leakage seed",
}


def call(name: str, **arguments: Any) -> Any:
    return TOOLS[name].call(**arguments)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A table with one row of each common defect after 40 good ones."""
    rng = random.Random(1)
    texts = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(30)).strip() for _ in range(40)]
    rows = [(text, ("card", "transfer")[i % 2]) for i, text in enumerate(texts)]
    rows += [rows[0], (rows[1][0] + " !", rows[1][1]), (rows[2][0], "transfer"), ("{{message}}", "card")]
    rows += [("write to jane.roe@example.com", "card"), ("", "card")]
    path = tmp_path / "planted.csv"
    with open(path, "w", newline="") as out:
        csv.writer(out).writerows([("text", "category"), *rows])
    return path


def test_every_tool_gives_the_keys_of_the_contract(planted: Path, tmp_path: Path) -> None:
    calls = {
        "data_inspect": {},
        "data_format": {"out": tmp_path / "out.jsonl"},
        "data_check": {},
        "data_clean": {"out": tmp_path / "clean.jsonl"},
        "data_split": {"out": tmp_path / "parts"},
    }
    assert calls.keys() == KEYS.keys() == TOOLS.keys()
    for name, arguments in calls.items():
        result = call(name, path=planted, **arguments)
        dumped = json.loads(json.dumps(result.model_dump(mode="json")))
        assert set(KEYS[name].split()) <= dumped.keys()
        assert result.text().strip()
        for problem in dumped.get("problems", []):
            assert problem.keys() == {"code", "severity", "line", "field", "message", "fix"}


def test_planted_defects_from_table_to_split(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "planted.jsonl"
    formatted = call("data_format", path=planted, out=out, map={"user": "text", "assistant": "category"})
    assert (formatted.in_rows, formatted.out_rows, formatted.rejected_rows) == (46, 45, 1)
    assert [problem.line for problem in formatted.rejected] == [47]
    checked = call("data_check", path=out)
    assert (checked.valid, checked.exit_code) == (True, 0)
    codes = {problem.code for problem in checked.problems}
    assert {"exact_duplicate", "near_duplicate", "conflicting_answers", "placeholder", "pii_email"} <= codes
    parts = call("data_split", path=out, out=tmp_path / "parts", seed=1)
    paths = {name: Path(getattr(parts, name)["path"]) for name in ("train", "validation", "test")}
    rows = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in paths.items()}
    asked = {name: {row["messages"][-2]["content"].strip(" !") for row in rows[name]} for name in rows}
    assert not asked["train"] & (asked["test"] | asked["validation"])
    assert not asked["validation"] & asked["test"]
    assert sum(getattr(parts, name)["rows"] for name in asked) == 45
    assert (parts.leakage, parts.seed) == (0, 1)


def test_inspect_suggests_a_mapping_and_keeps_exit_code_0(planted: Path) -> None:
    result = call("data_inspect", path=planted)
    assert result.suggested_map == {"user": "text", "assistant": "category"}
    assert (result.valid, result.rows, result.exit_code) == (True, 46, 0)
    assert "--map user=text" in result.text()


def test_check_is_not_good_when_invalid(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    result = call("data_check", path=bad)
    assert (result.valid, result.exit_code, result.counts) == (False, 1, {"error": 1, "warning": 0})
    assert [(p.code, p.line) for p in result.problems] == [("no_reply", 1)]


def test_prompts_and_running_text_without_replies_are_valid_with_a_warning(tmp_path: Path) -> None:
    for row in ({"prompt": "Write a poem."}, {"text": "Once upon a time."}):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps(row) + "\n")
        result = call("data_check", path=path)
        assert (result.valid, [p.code for p in result.problems]) == (True, ["not_sft"])


EMPTY = {
    "table.csv": "text,label\nhello,greeting\n,greeting\nbye,\n",
    "alpaca.jsonl": '{"instruction": "hi", "output": "ho"}\n{"instruction": "", "output": "ho"}\n'
    '{"instruction": "hi", "output": ""}\n',
    "pairs.jsonl": '{"prompt": "hi", "completion": "ho"}\n{"prompt": "hi", "completion": " "}\n',
    "image.jsonl": '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'
    '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},'
    ' {"role": "assistant", "content": "ho"}]}\n',
    "messages.jsonl": '{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "ho"}]}\n'
    '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]}\n',
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_fault_is_as_grave_where_rows_are_converted_as_where_they_are_checked(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(EMPTY[name])
    checked, formatted = call("data_check", path=path), call("data_format", path=path, out=tmp_path / "out.jsonl")
    assert formatted.rejected
    assert {(p.line, p.code, p.severity) for p in formatted.rejected} <= {
        (p.line, p.code, p.severity) for p in checked.problems
    }
    assert checked.valid == (name != "messages.jsonl"), "a chat without a reply is the one that is not well formed"
    assert f"- left out, line {formatted.rejected[0].line}: " in formatted.text()


def test_a_target_that_reads_chat_rows_refuses_a_table(planted: Path) -> None:
    result = call("data_check", path=planted, target="openai")
    assert "wrong_shape_for_target" in {p.code for p in result.problems if p.severity == "error"}


def test_an_empty_file_is_a_verdict_for_check_and_inspect(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    for name in ("data_check", "data_inspect"):
        result = call(name, path=tmp_path / "empty.txt")
        assert (result.valid, result.rows, [p.code for p in result.problems]) == (False, 0, ["empty_file"])


def test_outputs_are_not_overwritten_unasked(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    call("data_format", path=planted, out=out)
    before = out.read_bytes()
    with pytest.raises(UserError, match="exists"):
        call("data_format", path=planted, out=out, to="alpaca")
    assert out.read_bytes() == before
    call("data_format", path=planted, out=out, to="alpaca", overwrite=True)
    assert out.read_bytes() != before
    with pytest.raises(UserError, match="input file"):
        call("data_format", path=planted, out=planted, overwrite=True)
    call("data_split", path=planted, out=tmp_path / "parts")
    with pytest.raises(UserError, match="exists"):
        call("data_split", path=planted, out=tmp_path / "parts")
    with pytest.raises(UserError, match="is a file"):
        call("data_split", path=planted, out=out)


def test_nothing_is_written_when_no_row_fits(tmp_path: Path) -> None:
    path = tmp_path / "blank.csv"
    path.write_text("question,answer\nwhat,\nwhy,\n")
    for name, out in (("data_format", tmp_path / "out.jsonl"), ("data_split", tmp_path / "parts")):
        with pytest.raises(UserError, match="nothing was written"):
            call(name, path=path, out=out)
        assert not out.exists()


def test_groups_are_named_by_a_column(planted: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.csv"
    kept.write_text("".join(planted.read_text().splitlines(keepends=True)[:41]))
    parts = call("data_split", path=kept, out=tmp_path / "parts", group_by="category", ratios=(0.6, 0.2, 0.2))
    assert parts.clusters == 2
    with pytest.raises(UserError, match="categry") as raised:
        call("data_split", path=planted, out=tmp_path / "other", group_by="categry")
    assert "category" in raised.value.fix


def test_the_tools_import_nothing_heavy() -> None:
    code = (
        "import sys, tools.data;"
        "print([m for m in ('torch', 'pandas', 'numpy', 'pyarrow', 'charset_normalizer') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def expected(kind: str) -> list[dict[str, Any]]:
    path = SHARED / kind / "expected.json"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return [
        row for row in json.loads(path.read_text()) if "conversion" not in row["format"] and not row.get("disputed")
    ]


def test_verdicts_on_the_fixtures_of_other_projects() -> None:
    rows = expected("fixtures")
    assert rows
    for row in rows:
        result = call("data_check", path=SHARED / "fixtures" / row["file"])
        warned = row.get("should") == "warn" and result.counts["warning"]
        assert result.valid == row["valid"] or warned, (row["file"], result.problems)


def test_verdicts_on_real_tables() -> None:
    rows = [row for row in expected("messy_tables") if row["format"] not in ("xlsx", "gz")]
    assert rows
    for row in rows:
        result = call("data_inspect", path=SHARED / "messy_tables" / row["file"])
        assert result.valid == row["valid"], (row["file"], result.problems)
        assert result.delimiter == row["delimiter"], row["file"]


def test_no_real_file_crashes_a_tool() -> None:
    files = [path for path in SHARED.rglob("*") if path.is_file() and path.stat().st_size < 300_000]
    if not files:
        pytest.skip(f"{SHARED} is absent")
    fixes = []
    for path in files:
        for name in ("data_inspect", "data_check"):
            try:
                assert call(name, path=path).text()
            except FinetuneError as problem:
                fixes.append(problem.fix)
    assert all(fixes)
