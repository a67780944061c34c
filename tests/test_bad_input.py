"""What a user can get wrong about a file, a folder or a name: one line, the right code, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer, Finished, examples, write_examples

Finetune = Callable[..., Answer]

FILES: dict[str, bytes] = {
    "empty.csv": b"",
    "blank.csv": b"\n\n  \n",
    "header_only.csv": b"text,category\n",
    "binary.csv": bytes(range(256)) * 40,
    "one_column.csv": b"text\nhello\nthere\n",
    "one_row.csv": b"text,category\nhello,greet\n",
    "one_label.csv": b"text,category\n" + b"".join(b"%s,same\n" % text.encode() for text, _ in examples()),
    "no_answers.csv": b"text,category\n" + b"".join(b"%s,\n" % text.encode() for text, _ in examples()),
    "empty.jsonl": b"",
    "half.jsonl": b'{"messages": [{"role": "user", "content": "hel',
    "no_replies.jsonl": b'{"messages": [{"role": "user", "content": "hello"}]}\n' * 40,
    "numbers.jsonl": b"1\n2\n3\n",
    "not_really.xlsx": b"this is no workbook",
    "not_really.parquet": b"PAR1 nor this",
    "not_really.csv.gz": b"\x1f\x8b not gzip",
}
COMMANDS = (["go", "FILE"], ["train", "FILE"], ["plan", "FILE"], ["compare", "FILE"])
LOOKING = (
    ["data", "inspect", "FILE"],
    ["data", "check", "FILE"],
    ["data", "format", "FILE", "-o", "OUT.jsonl"],
    ["data", "split", "FILE", "-o", "OUT"],
)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder with one file of each kind, and a folder among them."""
    folder = tmp_path / "bad"
    (folder / "a folder").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def files_under(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused(answer: Answer, spoken: Answer, codes: tuple[int, ...] = (2, 3)) -> str:
    """The one line of a refusal; the same with and without --json."""
    assert answer.code in codes, answer.out + answer.err
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == {"what", "where", "fix"}
    assert answer.json["error"]["what"]
    assert (spoken.code, spoken.out) == (answer.code, "")
    (line,) = spoken.err.strip().splitlines()
    assert "Traceback" not in answer.out + answer.err + line
    return line


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("name", [*FILES, "missing.csv", "a folder"])
def test_a_file_that_cannot_carry_a_job(
    name: str, words: list[str], bad: Path, tmp_path: Path, tiny_model: Path, finetune: Finetune
) -> None:
    before = files_under(tmp_path)
    given = [bad / name if word == "FILE" else word for word in words]
    given += ["--base-model", tiny_model]
    line = refused(finetune(*given, "--json"), finetune(*given))
    assert name.split(".")[0] in line or str(bad) in line, "it says where"
    assert files_under(tmp_path) == before, "nothing is left behind"


@pytest.mark.parametrize("words", LOOKING, ids=lambda words: words[1])
@pytest.mark.parametrize("name", [*FILES, "missing.csv", "a folder"])
def test_a_file_that_is_only_looked_at(
    name: str, words: list[str], bad: Path, tmp_path: Path, finetune: Finetune
) -> None:
    """Here a file may also be read and found not good: code 1 with the usual keys."""
    before = files_under(tmp_path)
    places = {"FILE": bad / name, "OUT": tmp_path / "out", "OUT.jsonl": tmp_path / "out.jsonl"}
    answer = finetune(*[places.get(word, word) for word in words], "--json")
    assert answer.code in (0, 1, 2, 3), answer.out + answer.err
    assert isinstance(answer.json, dict)
    assert "Traceback" not in answer.out + answer.err
    if answer.code in (2, 3):
        assert answer.json.keys() == {"error"}
        assert files_under(tmp_path) == before
    elif words[1] == "check":
        assert (answer.code, answer.json["valid"]) in ((1, False), (0, True))
        assert answer.json["valid"] or answer.json["problems"]
    if name in ("missing.csv", "a folder"):
        assert answer.code in (2, 3)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("model", ["no/such-model", "SmolLM-wrong", "./nowhere", "EMPTY_FOLDER", "BROKEN_CONFIG"])
def test_a_base_model_that_means_nothing(model: str, words: list[str], tmp_path: Path, finetune: Finetune) -> None:
    table = write_examples(tmp_path / "things.csv")
    for name, config in (("EMPTY_FOLDER", None), ("BROKEN_CONFIG", "{ half")):
        (tmp_path / name).mkdir()
        if config:
            (tmp_path / name / "config.json").write_text(config)
    before = files_under(tmp_path)
    named = tmp_path / model if (tmp_path / model).is_dir() else model
    given = [table if word == "FILE" else word for word in words]
    given += ["--base-model", named]
    line = refused(finetune(*given, "--json"), finetune(*given), codes=(3,))
    assert model in line
    assert files_under(tmp_path) == before


def test_a_model_folder_that_lacks_a_template_or_weights_is_told(
    tiny_model: Path, tmp_path: Path, finetune: Finetune, jobs_here: None
) -> None:
    """The template is looked at before a run is made, the weights by the run itself."""
    table = write_examples(tmp_path / "things.csv")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    answer = finetune("go", table, "--base-model", folder, "--json")
    assert (answer.code, "no chat template" in answer.json["error"]["what"]) == (3, True)
    assert not (tmp_path / "home").exists()
    (folder / "chat_template.jinja").write_bytes((tiny_model / "chat_template.jinja").read_bytes())
    answer = finetune("go", table, "--base-model", folder, "--json")
    assert (answer.code, "safetensors" in answer.json["error"]["what"]) == (3, True)


@pytest.mark.parametrize("words", COMMANDS[:2] + COMMANDS[3:], ids=lambda words: words[0])
def test_a_workspace_that_cannot_be_written(
    words: list[str], tmp_path: Path, tiny_model: Path, finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder should be: not even root can write below it."""
    table = write_examples(tmp_path / "things.csv")
    (tmp_path / "occupied").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "occupied"))
    before = files_under(tmp_path)
    given = [table if word == "FILE" else word for word in words]
    given += ["--base-model", tiny_model]
    line = refused(finetune(*given, "--json"), finetune(*given), codes=(3,))
    assert "occupied" in line
    assert files_under(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ["data", "format", "TABLE", "-o", "OCCUPIED/out.jsonl"],
        ["data", "split", "TABLE", "-o", "OCCUPIED/out"],
        ["plan", "TABLE", "--out", "OCCUPIED/spec.yaml"],
    ],
    ids=lambda words: words[0],
)
def test_an_output_that_cannot_be_written(words: list[str], tmp_path: Path, finetune: Finetune) -> None:
    table = write_examples(tmp_path / "things.csv")
    (tmp_path / "occupied").write_text("a file", encoding="utf-8")
    before = files_under(tmp_path)
    given = [word.replace("TABLE", str(table)).replace("OCCUPIED", str(tmp_path / "occupied")) for word in words]
    line = refused(finetune(*given, "--json"), finetune(*given), codes=(3,))
    assert "occupied" in line
    assert files_under(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_without_permission(tmp_path: Path, tiny_model: Path, finetune: Finetune) -> None:
    table = write_examples(tmp_path / "things.csv")
    table.chmod(0)
    refused(finetune("go", table, "--json"), finetune("go", table), codes=(3,))
    table.chmod(0o600)
    (tmp_path / "home").mkdir(mode=0o500)
    given = ("go", table, "--base-model", tiny_model)
    refused(finetune(*given, "--json"), finetune(*given), codes=(3,))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--resume", "nothing-like-this"],
        ["train", "missing.yaml"],
        ["evaluate", "nothing-like-this", "--data", "TABLE"],
        ["runs", "show", "nothing-like-this"],
        ["runs", "stop"],
        ["go", "TABLE", "--test", "missing.csv"],
        ["go", "TABLE", "--prompt", "missing.txt"],
        ["go", "TABLE", "--map", "user=nowhere", "--map", "assistant=kind"],
        ["ask", "hello", "--model", "nonsense"],
        ["ask", "hello", "--model", "openai:anything"],
    ],
    ids=" ".join,
)
def test_a_name_that_means_nothing(
    words: list[str], tmp_path: Path, finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_examples(tmp_path / "things.csv")
    given = [str(table) if word == "TABLE" else word for word in words]
    refused(finetune(*given, "--json"), finetune(*given), codes=(3,))
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize(("name", "content"), [("empty.txt", b" \n"), ("binary.txt", b"\xff\xfe\x00\xd8")])
def test_a_prompt_file_that_says_nothing(name: str, content: bytes, tmp_path: Path, finetune: Finetune) -> None:
    table = write_examples(tmp_path / "things.csv")
    (tmp_path / name).write_bytes(content)
    given = ("go", table, "--prompt", tmp_path / name)
    assert name in refused(finetune(*given, "--json"), finetune(*given), codes=(3,))


def test_an_unfinished_run_has_nothing_to_evaluate(
    finished: Finished, new_run: Callable[..., object], tmp_path: Path, finetune: Finetune
) -> None:
    new_run()
    table = write_examples(tmp_path / "things.csv")
    given = ("evaluate", "2", "--data", table)
    assert "has no adapter" in refused(finetune(*given, "--json"), finetune(*given), codes=(3,))
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    runs = set((finished.home / "runs").iterdir())
    for rows in (empty, tmp_path / "missing.csv", tmp_path):
        again = ("evaluate", finished.run.path, "--data", rows)
        refused(finetune(*again, "--json"), finetune(*again), codes=(3,))
    assert set((finished.home / "runs").iterdir()) == runs


def test_in_a_process_of_its_own_an_error_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "go", str(tmp_path / "missing.csv"), "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (3, "", 1)
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout)["error"]["fix"]
