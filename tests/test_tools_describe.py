"""A dataset's card and the difficulty of its rows, as the commands give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import chat_rows
from typer.testing import CliRunner

from agent.cli import app
from executor.data import store
from executor.errors import UserError
from tools.data_write import WRITE_TOOLS
from tools.describe import DESCRIBE_TOOLS
from tools.planned import duration, sealed_as_test

TOOLS = {tool.name: tool for tool in (*WRITE_TOOLS, *DESCRIBE_TOOLS)}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chat_rows()), encoding="utf-8")
    return path


def test_the_card_of_a_split_names_its_parts_and_what_the_check_found(rows: Path, tmp_path: Path) -> None:
    with rows.open("a", encoding="utf-8") as file:
        talk = [
            {"role": "user", "content": "mail jane.roe@example.org about it"},
            {"role": "assistant", "content": "a"},
        ]
        file.write(json.dumps({"messages": talk}) + "\n")
    parts = TOOLS["data_split"].call(path=rows, out=tmp_path / "parts")
    done = TOOLS["data_card"].call(path=str(tmp_path / "parts"), out=tmp_path / "README.md", license="cc-by-4.0")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == done.card
    assert done.version == parts.version
    assert "license: cc-by-4.0" in text
    for name in ("train", "validation", "test"):
        assert f"| {name} | {name}.jsonl | {getattr(parts, name)['rows']} |" in text
    assert "The rows hold personal data or secrets" in text
    assert str(tmp_path) not in text
    with pytest.raises(UserError, match="exists already"):
        TOOLS["data_card"].call(path=str(rows), out=tmp_path / "README.md")


def test_difficulty_is_kept_with_the_version_of_the_file(rows: Path) -> None:
    with rows.open("a", encoding="utf-8") as file:
        talk = [{"role": "user", "content": "zygote quark " * 90}, {"role": "assistant", "content": "unheard of"}]
        file.write(json.dumps({"messages": talk}) + "\n")
    lines = rows.read_text(encoding="utf-8").count("\n")
    done = TOOLS["data_difficulty"].call(path=rows, shown=1)
    assert done.rows == lines
    assert [row["line"] for row in done.hardest] == [lines]
    kept = list(store.attached(store.get(done.version), "difficulty"))
    assert [row["line"] for row in kept] == list(range(1, lines + 1))
    assert all(0 <= row["difficulty"] <= 1 for row in kept)
    assert done.easiest[0]["difficulty"] == round(min(row["difficulty"] for row in kept), 3)


def test_a_file_without_a_usable_row_has_no_difficulty(rows: Path) -> None:
    rows.write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(UserError, match="No row"):
        TOOLS["data_difficulty"].call(path=rows)


def test_a_sealed_test_file_is_known_by_its_hash(rows: Path, tmp_path: Path) -> None:
    done = TOOLS["data_split"].call(path=rows, out=tmp_path / "parts")
    version = store.get(done.version)
    assert sealed_as_test(str(version.parts["test"].sha256)) == done.version
    assert sealed_as_test(str(version.parts["train"].sha256)) is None


def test_both_commands_answer_in_json(rows: Path) -> None:
    for command, key in (("card", "card"), ("difficulty", "hardest")):
        answer = CliRunner().invoke(app, ["data", command, str(rows), "--json"])
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout)[key]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.4, "0 s"),
        (75, "75 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2.0 h"),
        (36_900, "10.2 h"),
    ],
)
def test_how_long_something_takes_is_told_in_one_way(seconds: float, told: str) -> None:
    assert duration(seconds) == told
