"""Where an export goes: what is not its own is never deleted, and what cannot be written is told before the work."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SYSTEM, Answer

from executor import export_folder, stage_export
from executor.__main__ import main
from executor.errors import UserError
from executor.export_folder import put, refuse_place, refuse_replacing, strange, target_of, try_writing
from executor.export_spec import ExportSpec
from executor.files import read_json, write_json
from executor.home import cache, workspace
from executor.run_folder import RunFolder, all_runs
from executor.spec import STAGES, save_spec
from tools.export import EXPORT, ExportArgs, plan_export
from tools.serving import Trial, system_of
from tools.serving import target_of as served_as

NewRun = Callable[..., RunFolder]
Cli = Callable[..., Answer]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its content; None: a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def an_export(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "equivalence.json", {"equal": True})
    write_json(folder / "export.json", {"run": "r", "system": None})
    (folder / "model.bf16.gguf").write_bytes(b"old")
    return folder


def test_the_users_own_files_are_never_replaced(run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None) -> None:
    mine = tmp_path / "mydocs"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "thesis.txt").write_text("years of work")
    before, runs = tree(mine), len(all_runs())
    answer = finetune("export", run.name, "--to", "vllm", "-o", mine, "--yes", "--json")
    assert answer.code == 3
    assert "holds deep, which no export wrote" in answer.json["error"]["what"]
    assert tree(mine) == before
    assert len(all_runs()) == runs, "before any work"


def test_an_export_is_replaced_when_that_is_agreed_to(
    run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    out = tmp_path / "out"
    words = ("export", run.name, "--to", "vllm", "-o", out, "--json")
    assert finetune(*words).code == 0
    first = tree(out)
    assert strange(out) == "", "what is written is known as written"
    assert finetune(*words).code == 3
    (out / "serve.txt").write_text("old")
    plan = plan_export(ExportArgs(run=run.name, to="vllm", out=str(out), overwrite=True))
    assert "It replaces the export that is there." in plan
    assert finetune(*words, "--yes").code == 0
    assert tree(out) == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "out"], "nothing is left beside it"
    (out / "notes.md").write_text("mine")
    answer = finetune(*words, "--yes")
    assert answer.code == 3
    assert "holds notes.md" in answer.json["error"]["what"]
    assert (out / "notes.md").read_text() == "mine"


def test_only_what_exports_write_counts_as_an_export(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuse_replacing(tmp_path / "absent", False)
    refuse_replacing(tmp_path / "empty", True)
    with pytest.raises(UserError, match="is there already"):
        refuse_replacing(tmp_path / "empty", False)
    out = an_export(tmp_path / "out")
    assert strange(out) == ""
    (tmp_path / "elsewhere").mkdir()
    plants: list[tuple[str, Callable[[Path], Any]]] = [
        ("README.md", lambda path: path.write_text("my words on it")),
        ("model.mine.gguf", lambda path: path.write_text("mine")),
        ("adapter", lambda path: path.symlink_to(tmp_path / "elsewhere")),
        ("config.json", lambda path: path.mkdir()),
    ]
    for name, plant in plants:
        plant(out / name)
        assert strange(out) == name
        (out / name).rmdir() if (out / name).is_dir() and name == "config.json" else (out / name).unlink()
    (out / "adapter").mkdir()
    (out / "adapter" / "diary.txt").write_text("mine")
    assert strange(out) == "adapter/diary.txt"
    shutil.rmtree(out / "adapter")
    (out / "export.json").unlink()
    (out / "README.md").write_text("a card")
    assert strange(out) == "", "a push has a card and no export.json"
    (out / "equivalence.json").write_text("no JSON")
    assert strange(out) == "README.md"


def test_places_that_are_no_place_for_an_export(
    run: RunFolder, finetune: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project" / "src"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    another = tmp_path / "copy-of-a-run"
    shutil.copytree(run.path, another)
    whole = len(list(tmp_path.rglob("*")))
    cases = [
        (".", "is the current folder"), ("..", "contains the current folder"), ("", "is the current folder"),
        ("/", "contains"), (tmp_path, "contains the workspace"), (Path.home(), "your home folder"),
        (run.path, "is the run that is exported"), (run.adapter / "x", "lies in the workspace"),
        (workspace(), "is the workspace"), (workspace() / "x", "lies in the workspace"),
        (cache(), "is the model cache"), (run.spec().model.folder, "is the base model"),
        (another, "is a run folder"), (another / "out", "lies in a run folder"),
    ]  # fmt: skip
    for out, why in cases:
        answer = finetune("export", run.name, "--to", "vllm", "-o", out, "--yes", "--json")
        assert answer.code == 3, out
        assert why in answer.json["error"]["what"], (out, answer.json)
    assert len(list(tmp_path.rglob("*"))) == whole
    assert [each.name for each in all_runs()] == [run.name]


def test_a_place_that_cannot_be_written_is_told_in_one_line_before_the_work(
    run: RunFolder, finetune: Cli, tmp_path: Path
) -> None:
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = [
        ("afile", "is no folder"), ("afile/x", "Cannot write"), ("link", "is a symbolic link"),
        ("loop/x", ""), ("/proc/x/y", "Cannot write y"), ("n" * 300, ""), ("~nobody-of-this-name/x", "No folder"),
    ]  # fmt: skip
    for name, why in cases:
        out = name if name[0] in "/~" else str(tmp_path / name)
        answer = finetune("export", run.name, "--to", "vllm", "-o", out, "--yes", "--json")
        assert answer.code == 3, (name, answer)
        assert why in answer.json["error"]["what"]
        assert "internal" not in answer.json["error"]["what"]
    assert [each.name for each in all_runs()] == [run.name]
    assert (tmp_path / "afile").read_text() == "mine"
    assert target_of(str(tmp_path / "link" / "out")) == tmp_path / "folder" / "out"


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    before = tree(tmp_path)
    try_writing(tmp_path / "a" / "b" / "out")
    try_writing(tmp_path / "there")
    assert tree(tmp_path) == before


def test_a_folder_that_appeared_meanwhile_is_kept_and_so_is_the_work(
    run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, honest = tmp_path / "out", stage_export.MAKERS["vllm"]

    def meanwhile(job: Any, wish: Any, work: Path) -> Any:
        out.mkdir()
        (out / "mine.txt").write_text("new")
        return honest(job, wish, work)

    monkeypatch.setitem(stage_export.MAKERS, "vllm", meanwhile)
    answer = finetune("export", run.name, "--to", "vllm", "-o", out, "--yes", "--json")
    assert answer.code == 3, answer
    assert tree(out) == {"mine.txt": b"new"}
    assert answer.json["error"]["fix"] == f"The finished export is in {tmp_path / 'out-2'}."
    assert strange(tmp_path / "out-2") == ""
    assert (tmp_path / "out-2" / "serve.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "out", "out-2"]


def test_the_old_export_stays_until_the_new_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, work = an_export(tmp_path / "out"), an_export(tmp_path / "work")
    (work / "model.bf16.gguf").write_bytes(b"new")
    with pytest.raises(UserError, match="is there already"):
        put(work, out, False)
    work = (tmp_path / "out-2").rename(work)
    before, rename = tree(out), Path.rename

    def fails(self: Path, to: Path) -> Path:
        if self == work and to == out:
            raise OSError(errno.EIO, "a broken disk")
        return rename(self, to)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fails)
        with pytest.raises(UserError, match="a broken disk"):
            put(work, out, True)
    assert tree(out) == before
    work = (tmp_path / "out-2").rename(work)

    def late(self: Path, to: Path) -> Path:
        if self == out:
            (out / "mine.txt").write_text("just now")
        return rename(self, to)

    with monkeypatch.context() as raced:
        raced.setattr(Path, "rename", late)
        with pytest.raises(UserError, match=r"holds mine\.txt"):
            put(work, out, True)
    assert (out / "mine.txt").read_text() == "just now"
    (out / "mine.txt").unlink()
    put(tmp_path / "out-2", out, True)
    assert (out / "model.bf16.gguf").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == ["out"]


def test_a_spec_of_an_export_is_held_to_the_same_before_its_work(run: RunFolder, tmp_path: Path) -> None:
    """A run folder may come from somewhere, and be resumed where something else is in its place."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.txt").write_text("mine")
    spec = run.spec()
    for out in (mine, run.path, run.path / "adapter", Path.cwd()):
        wish = ExportSpec(target="vllm", out=str(out), overwrite=True)
        evaluate = spec.evaluate.model_copy(update={"adapter": str(run.adapter)})
        copy = RunFolder(tmp_path / "home" / "runs" / "export")
        shutil.copytree(run.path, copy.path)
        shutil.rmtree(copy.path / "stages")
        more = {"kind": "export", "stages": STAGES["export"], "evaluate": evaluate, "export": wish}
        save_spec(spec.model_copy(update=more), copy.path / "spec.yaml")
        before = tree(run.path)
        assert main(str(copy.path)) == 3, out
        assert tree(run.path) == before
        shutil.rmtree(copy.path)
    assert (mine / "a.txt").read_text() == "mine"


def test_a_full_disk_of_the_export_names_it_and_the_run_goes_on_later(
    run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(tuned: Path, work: Path) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(work / "x"))

    with monkeypatch.context() as small:
        small.setattr(stage_export.shutil, "copytree", full)
        answer = finetune("export", run.name, "--to", "vllm", "-o", out, "--json")
    assert answer.code == 3, answer
    told = answer.json["error"]
    assert (told["what"], told["where"]) == ("The disk of the export is full", str(out))
    exported = next(each for each in all_runs() if each.spec().kind == "export")
    assert exported.status()["state"] == "paused"
    assert f"finetune train --resume {exported.name}" in told["fix"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"], "the space is given back"
    assert finetune("train", "--resume", exported.name, "--json").code == 0
    assert strange(out) == ""


def test_the_export_tells_the_system_message_and_it_is_served_and_tried_with_it(
    run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    out = tmp_path / "out"
    assert finetune("export", run.name, "--to", "vllm", "-o", out, "--json").code == 0
    assert read_json(out / "export.json") == {
        "run": run.name, "target": "vllm", "quant": None, "system": SYSTEM, "base": "tiny", "dtype": "float32"
    }  # fmt: skip
    exported = next(each for each in all_runs() if each.spec().kind == "export")
    target = served_as(str(out))
    assert (target.kind, target.path, target.base) == ("run", str(out / "adapter"), run.spec().model.folder)
    assert (target.name, target.dtype) == ("out", "float32")
    assert served_as(exported.name) == target
    assert system_of(exported.name) == system_of(str(out)) == system_of(run.name) == SYSTEM
    (out / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    assert system_of(str(out / "model.gguf")) == SYSTEM
    assert system_of(str(tmp_path / "other.gguf")) is None
    (out / "model.gguf").unlink()
    question = run.rows("test")[0]["messages"][1]
    with Trial(str(out)) as trial, Trial(run.name) as direct:
        assert trial.models == ("base", "out")
        assert (trial.system, trial.note) == ([{"role": "system", "content": SYSTEM}], "")
        said = "".join(trial.ask("out", [question]))
        assert said == "".join(direct.ask(run.name, [question]))
    (out / "export.json").unlink()
    answer = finetune("try", out, question["content"], "--json")
    assert answer.code == 0
    assert answer.json["note"].startswith("Asked without a system message")


def test_an_adapter_whose_base_is_gone_says_so(tmp_path: Path) -> None:
    write_json(tmp_path / "out" / "adapter" / "adapter_config.json", {"base_model_name_or_path": "/gone"})
    with pytest.raises(UserError, match="The base of this adapter is not here: /gone"):
        served_as(str(tmp_path / "out"))


def test_the_argument_s_words_are_true() -> None:
    assert "never replaced" in str(EXPORT.args.model_json_schema()["properties"]["overwrite"])
    assert export_folder.TELLS in export_folder.WRITTEN
    with pytest.raises(UserError, match="contains"):
        refuse_place(Path("/"))
