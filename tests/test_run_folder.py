"""A run on disk: whole or absent, found by its name, and honest about a process that died."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Answer, chat_rows

from executor import launch
from executor.errors import UserError
from executor.files import append_jsonl, read_json, read_jsonl, write_json, write_jsonl
from executor.home import runs_folder, workspace
from executor.run_folder import RunFolder, alive, all_runs, create_run, find_run

NewRun = Callable[..., RunFolder]


@pytest.fixture
def finished_pid() -> int:
    """The number of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_new_run_is_whole(new_run: NewRun) -> None:
    run = new_run()
    assert run.path.parent == runs_folder()
    assert run.path.is_absolute()
    assert run.status().keys() >= {"state", "reason", "stage", "pid", "heartbeat"}
    assert run.status()["state"] == "planned"
    assert run.spec().data.path.endswith("things.csv")
    assert [len(run.rows(split)) for split in ("train", "validation", "test", "other")] == [40, 8, 12, 0]
    assert run.rows("train") == chat_rows()[:40]
    assert read_json(run.path / "data.json")["version"] == run.spec().data.version
    assert (run.metrics(), run.result(), run.summary("train")) == ([], None, None)


def test_runs_started_in_the_same_second_get_folders_of_their_own(new_run: NewRun) -> None:
    runs = [new_run() for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert {run.path for run in all_runs()} == {run.path for run in runs}
    assert not list(runs_folder().glob(".*")), "nothing hidden is left"


def test_a_run_that_cannot_be_made_leaves_nothing(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()

    def full(path: Path, rows: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("executor.files.write_jsonl", full)
    with pytest.raises(UserError, match="No space"):
        create_run(run.spec(), {"train": chat_rows(1)}, {})
    assert list(runs_folder().iterdir()) == [run.path]


def test_a_workspace_that_is_a_file_is_told(new_run: NewRun) -> None:
    workspace().write_text("not a folder", encoding="utf-8")
    with pytest.raises(UserError, match="Cannot write"):
        new_run()
    assert workspace().read_text(encoding="utf-8") == "not a folder"
    assert all_runs() == []


def test_a_run_is_found_by_path_name_and_beginning(new_run: NewRun) -> None:
    run, other = new_run("train"), new_run("go")
    for name in (str(run.path), run.name, run.name[:-3]):
        assert find_run(name).path == run.path
    assert find_run(other.name).path == other.path
    with pytest.raises(UserError, match="fits 2 runs"):
        find_run(run.name[:8])
    with pytest.raises(UserError) as caught:
        find_run(run.name[:-1] + "x")
    assert run.name in caught.value.fix, "the nearest name is offered"


def test_a_name_that_is_the_beginning_of_another_is_still_found(new_run: NewRun) -> None:
    first = new_run()
    second = RunFolder(first.path.rename(first.path.with_name("run")).with_name("run-2"))
    new_run().path.rename(second.path)
    assert find_run("run").name == "run"
    assert find_run("run-").name == "run-2"


def test_without_a_workspace_there_are_no_runs() -> None:
    assert all_runs() == []
    with pytest.raises(UserError, match="No run"):
        find_run("anything")


def test_a_dead_running_run_is_read_as_failed(new_run: NewRun, finished_pid: int) -> None:
    run = new_run()
    run.set_status("running", pid=finished_pid, stage="train")
    assert run.status()["state"] == "failed"
    assert "resume" in run.status()["reason"]
    assert read_json(run.path / "status.json")["state"] == "running", "reading changes nothing"


def test_a_reused_process_number_is_not_taken_for_the_run(new_run: NewRun) -> None:
    run, mine = new_run(), psutil.Process().create_time()
    run.set_status("running", pid=os.getpid(), started=mine)
    assert run.status()["state"] == "running"
    run.set_status("running", pid=os.getpid(), started=mine - 100)
    assert run.status()["state"] == "failed"
    assert not alive(None, None)


def test_a_running_run_is_not_started_twice(new_run: NewRun) -> None:
    run = new_run()
    run.set_status("running", pid=os.getpid(), started=psutil.Process().create_time())
    with pytest.raises(UserError, match="already running"):
        launch.launch(run)
    assert not (run.log_file.exists() and run.log_file.read_text())


def test_a_run_that_cannot_be_logged_is_told(new_run: NewRun) -> None:
    run = new_run()
    run.log_file.mkdir()
    with pytest.raises(UserError, match=r"Cannot write run\.log"):
        launch.launch(run)
    assert run.status()["state"] == "planned"


def test_stopping_what_does_not_run_changes_nothing(new_run: NewRun, finished_pid: int) -> None:
    run = new_run()
    assert launch.stop(run)["state"] == "planned"
    run.set_status("running", pid=finished_pid)
    assert launch.stop(run)["state"] == "failed"


def test_following_yields_each_status_once_and_ends(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()
    statuses = iter([{"state": s, "stage": t} for s, t in [("running", "train")] * 3 + [("done", None)]])
    monkeypatch.setattr(RunFolder, "status", lambda self: next(statuses))
    monkeypatch.setattr(launch, "POLL_SECONDS", 0)
    assert [status["state"] for status in launch.follow(run)] == ["running", "done"]


def test_a_run_process_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("OPENAI_API_KEY", "SOME_TOKEN", "A_SECRET", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PLAIN")
    for name in keys:
        monkeypatch.setenv(name, "value")
    for hub in (True, False):
        given = launch.child_environment(hub)
        assert {"PLAIN", "PATH"} <= given.keys()
        assert not {"OPENAI_API_KEY", "SOME_TOKEN", "A_SECRET", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY"} & given.keys()
        assert ("HF_TOKEN" in given) == hub
    assert launch.child_environment(False)["HF_HUB_OFFLINE"] == "1"


def test_the_users_own_executor_folder_is_never_run(
    new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec that is not valid ends the real run process before torch is imported: enough to see whose code ran."""
    run = new_run()
    spec = run.path / "spec.yaml"
    spec.write_text(spec.read_text(encoding="utf-8") + "surprise: 1\n", encoding="utf-8")
    mine = tmp_path / "cwd" / "executor"
    mine.mkdir(parents=True)
    (mine / "__init__.py").write_text("")
    (mine / "__main__.py").write_text("open('stolen', 'w')")
    monkeypatch.chdir(mine.parent)
    pid = launch.launch(run)
    states = [status["state"] for status in launch.follow(run)]
    assert states[-1] == "failed"
    assert not (mine.parent / "stolen").exists()
    status = run.status()
    assert (status["pid"], status["exit_code"]) == (pid, 3)
    assert 'unknown key "surprise"' in status["error"]["what"]


def test_json_lines_survive_a_cut_off_end(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_jsonl(path, {"a": "é\u2028"})
    with open(path, "a", encoding="utf-8") as out:
        out.write('{"a": 2')
    assert read_jsonl(path) == [{"a": "é\u2028"}]


@pytest.mark.parametrize("write", [lambda p: write_json(p, {1: object()}), lambda p: write_jsonl(p, [1, object()])])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(write: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError):
        write(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.glob("*file*")) == [path]


def test_json_before_and_after_the_subcommand_mean_the_same(
    new_run: Callable[..., RunFolder], finetune: Callable[..., Answer]
) -> None:
    run = new_run()
    after = finetune("runs", "show", run.name, "--json").json
    before = finetune("runs", "--json", "show", run.name).json
    assert before == after
    assert before["run"]["name"] == run.name
