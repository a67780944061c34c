"""Which rows a tuned run is evaluated on: its own sealed ones, later files like its table, none that it has learned."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer, examples

from executor.data.prepare import rows_to_test
from executor.data.rows import answer
from executor.files import read_jsonl, write_jsonl
from executor.run_folder import RunFolder

Finetune = Callable[..., Answer]


@pytest.fixture
def mapped(finetune: Finetune, table: Path, tiny_model: Path, jobs_here: None) -> RunFolder:
    """A finished job on a table whose columns the user named."""
    words = ("--map", "user=message", "--map", "assistant=kind", "--base-model", tiny_model, "--yes", "--json")
    done = finetune("go", table, *words)
    assert done.code in (0, 1), done.err
    run = RunFolder(Path(done.json["run"]))
    assert run.spec().data.mapping == {"user": "message", "assistant": "kind"}
    return run


def test_a_run_made_from_a_table_is_evaluated_on_its_own_rows_and_on_later_tables(
    finetune: Finetune, mapped: RunFolder, tmp_path: Path
) -> None:
    own, rows = mapped.data / "test.jsonl", mapped.rows("test")
    plain = finetune("evaluate", mapped.path, "--data", own, "--json")
    assert plain.code in (0, 1), plain.out
    assert plain.json["scores"]["fine_tuned"]["task_accuracy"]["n"] == len(rows)
    assert RunFolder(Path(plain.json["run"])).rows("test") == rows
    since = finetune("evaluate", mapped.path, "--data", own, "--since", "last", "--json")
    assert since.code == 0, since.out
    assert (since.json["drift"]["rows"], since.json["drift"]["changed_answers"]) == (len(rows), 0)
    assert since.json["drift"]["rows_trained_on"] == 0
    later = tmp_path / "later.csv"
    later.write_text("kind,message,note\n" + "".join(f"{k},we met {m} at noon,x\n" for m, k in examples()[:9]))
    new = finetune("evaluate", mapped.path, "--data", later, "--json")
    assert new.code in (0, 1), new.out
    tested = RunFolder(Path(new.json["run"])).rows("test")
    assert [answer(row) for row in tested] == [kind for _, kind in examples()[:9]]
    assert {row["messages"][0]["content"] for row in tested} == {rows[0]["messages"][0]["content"]}


def test_rows_that_the_run_was_trained_on_are_refused(finetune: Finetune, mapped: RunFolder, tmp_path: Path) -> None:
    rows, known, mixed = mapped.rows("test"), mapped.rows("train")[:5], tmp_path / "mixed.jsonl"
    write_jsonl(mixed, [*rows, *known])
    runs = set(mapped.path.parent.iterdir())
    lines = ", ".join(str(len(rows) + number) for number in range(1, 6))
    for words in ((), ("--since", "last"), ("--since", mapped.path)):
        refused = finetune("evaluate", mapped.path, "--data", mixed, *words, "--json")
        assert refused.code == 3, refused.out
        what = f"5 rows of mixed.jsonl ask what {mapped.name} was trained on (lines {lines})"
        assert refused.json["error"]["what"] == what
        assert "--drop-overlap" in refused.json["error"]["fix"]
    assert set(mapped.path.parent.iterdir()) == runs, "nothing was started"
    left = finetune("evaluate", mapped.path, "--data", mixed, "--drop-overlap", "--json")
    assert left.code in (0, 1), left.out
    assert left.json["scores"]["fine_tuned"]["task_accuracy"]["n"] == len(rows)
    assert not any("trained on" in reason for reason in left.json["verdict_reasons"])
    repeated = Path(left.json["run"], "report.md").read_text(encoding="utf-8")
    assert f"--data {shlex.quote(str(mixed))} --drop-overlap" in repeated
    only = finetune("evaluate", mapped.path, "--data", mapped.data / "train.jsonl", "--drop-overlap", "--json")
    assert (only.code, only.json["error"]["what"]) == (3, "Every row of train.jsonl was trained on")
    # what it was measured with before stays what it is watched with, and the one line says so
    asked: list[dict[str, Any]] = [
        {"prompt": row["messages"][:-1], "expected": answer(row), "output": answer(row)} for row in known
    ]
    write_jsonl(mapped.outputs("fine_tuned"), [*read_jsonl(mapped.outputs("fine_tuned")), *asked])
    watched = finetune("evaluate", mapped.path, "--data", mixed, "--since", mapped.path)
    assert watched.code in (0, 1), watched.out
    assert watched.out.count("\n") == 1
    assert "; 5 of the rows were trained on." in watched.out


def test_a_server_alone_has_no_rows_to_leave_out(finetune: Finetune, table: Path) -> None:
    words = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--data", table, "--drop-overlap", "--json")
    refused = finetune("evaluate", *words)
    assert (refused.code, refused.json["error"]["where"]) == (2, "--drop-overlap")


def test_a_mapping_fits_where_its_columns_are(tmp_path: Path) -> None:
    trained = [
        {"messages": [{"role": "user", "content": f"word {n}"}, {"role": "assistant", "content": "ab"[n % 2]}]}
        for n in range(8)
    ]
    told = {"instruction": "Sort.", "input": "a stone", "output": "a"}
    chat = {"messages": [{"role": "user", "content": "a stone"}, {"role": "assistant", "content": "a"}]}
    pair = {"prompt": "a stone", "chosen": "a", "rejected": "b"}
    for row, mapping, asked in (
        (told, {"user": "input", "assistant": "output"}, "a stone"),
        (told, {"user": "message", "assistant": "kind"}, "Sort.\na stone"),
        (chat, {"user": "message", "assistant": "kind"}, "a stone"),
        (pair, {"user": "prompt", "assistant": "chosen"}, "a stone"),
        ({"a": "b", "c": "a stone"}, {"user": "c", "assistant": "a"}, "a stone"),
    ):
        file = tmp_path / "later.jsonl"
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
        ((found,), _) = rows_to_test(file, trained, mapping)
        assert found["messages"][-2]["content"] == asked
        assert "rejected" not in found
